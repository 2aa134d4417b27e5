"""What the compiler makes of a block's backward pass in more kernels than needed, for training on a GPU."""
