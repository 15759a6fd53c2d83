"""What makes the repository's own files, and what checks them."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
