"""Whether the sources that a method names for an answer are those that the answer comes from.

Questions with documents whose gold sources are known: made here from a seed, or read from a file.
"""
