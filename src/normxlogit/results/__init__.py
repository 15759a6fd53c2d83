"""The results of explaining: a module for each kind of input.

Importing any of them imports all, so that `Result.load` and `Result.from_dict` know every kind:
each class registers itself when it is defined (see `Result.__init_subclass__`).
"""

from normxlogit.results import audio, generation, image, text

__all__ = ["audio", "generation", "image", "text"]
