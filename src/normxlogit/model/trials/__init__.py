"""What a model does, found by trying it."""
