"""Comparisons of methods on one text."""
