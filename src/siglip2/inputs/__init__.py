"""What the towers eat, made from what people have."""
