"""Attributions of texts."""
