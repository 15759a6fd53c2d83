"""Where the repository's own files are."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
REFERENCES = ROOT / "tests" / "references"
"""Numbers computed by the authors' own code."""


SHARED = Path(os.environ.get("NORMXLOGIT_SHARED", "../shared"))
"""Fine-tuned models and data; see CONTRIBUTING."""
