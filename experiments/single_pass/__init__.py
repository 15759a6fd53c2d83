"""What can be had beyond NormXLogit for about one forward pass; docs/single-pass.md."""
