"""Attributions of audio."""
