"""Explanations of a whole corpus: read row by row, written in shards, resumed when stopped.

What runs the model is loaded when it is first used: a corpus is summarized without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from normxlogit.corpus.explained import Explained
from normxlogit.corpus.summaries.findings import Findings
from normxlogit.corpus.summaries.summarise import summary
from normxlogit.data.rows import Bad, Kind, Row

if TYPE_CHECKING:
    from normxlogit.corpus.run import Summary

__all__ = ["Bad", "Explained", "Findings", "Kind", "Row", "Summary", "summary"]


def __getattr__(name: str) -> Any:
    if name != "Summary":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(".run", __name__).Summary
