"""One file per dialect: a request becomes calls of the engine, and the result its client's shape."""
