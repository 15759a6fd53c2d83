"""Answers from documents and what their sentences rest on, as terminal, page and plot show them."""
