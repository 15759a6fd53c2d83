"""Answers and the sources that they rest on, in a terminal and on a page."""
