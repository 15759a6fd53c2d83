"""Attributions of images."""
