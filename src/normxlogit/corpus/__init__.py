"""Explanations of a whole corpus: read row by row, written in shards, gone on with when stopped."""

from normxlogit.corpus.explaining import Explained
from normxlogit.corpus.rows import Bad, Kind, Row
from normxlogit.corpus.run import Summary
from normxlogit.corpus.summarise import Findings, summary

__all__ = ["Bad", "Explained", "Findings", "Kind", "Row", "Summary", "summary"]
