"""Attributions of generated text."""
