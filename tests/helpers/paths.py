"""Where the repository's own files are."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
REFERENCES = ROOT / "tests" / "references"
"""Numbers computed by the authors' own code."""
