"""A model whose outputs are its explanation too: as a module of torch, and as a graph in a folder.

What reads such a folder (`exported.py` and what it imports) needs neither torch nor transformers.
"""
