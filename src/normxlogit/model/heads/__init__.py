"""The heads of models, replayed on every token and checked against the model's own output."""
