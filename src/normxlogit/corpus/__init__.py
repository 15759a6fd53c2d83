"""Explanations of a whole corpus: read row by row, written in shards, resumed when stopped."""

from normxlogit.corpus.explain import Explained
from normxlogit.corpus.findings import Findings
from normxlogit.corpus.run import Summary
from normxlogit.corpus.summarise import summary
from normxlogit.data.rows import Bad, Kind, Row

__all__ = ["Bad", "Explained", "Findings", "Kind", "Row", "Summary", "summary"]
