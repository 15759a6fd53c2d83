"""BLiMP's pairs on number agreement: experiment 2 of Abbasi et al. 2025.

Rules find the word that settles which sentence of a pair is right; the layers of a language model
are read in several ways; and what each way points to is held against that word.
"""

from normxlogit.evaluation.blimp.cases import (
    RULES,
    Case,
    case_of,
    expand,
    halves,
    read_cases,
    target_ids,
)

__all__ = ["RULES", "Case", "case_of", "expand", "halves", "read_cases", "target_ids"]
