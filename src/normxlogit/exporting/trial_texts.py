"""Texts that an exported graph is tried on: short and long, single and in pairs."""

from itertools import product

_OPENINGS = ("The film", "This phone", "Our hotel room", "The new law", "Her lecture")
_VERDICTS = (
    "was a delight from start to end.",
    "did not work at all, and nobody cared!",
    "is neither good nor bad: it costs 12.50 and does what it says.",
    "surprised everyone who expected the worst, although the ending felt rushed.",
)
_ODD = (
    "No.",
    "Why?",
    "unbelievably GOOD",
    "It isn't the worst thing I've seen, but it's close.",
    "Señor Müller paid 1,250 € in Zürich — twice.",
    "Great 👍🏽, really great... not!",
    "A man is playing a guitar.",
    "Two dogs run across a field of tall grass while a child watches them.",
)

_SENTENCES = [f"{opening} {verdict}" for opening, verdict in product(_OPENINGS, _VERDICTS)]

TEXTS: tuple[str, ...] = (
    *_ODD,
    *_SENTENCES,
    *(" ".join(_SENTENCES[n : n + 4]) for n in range(0, 16, 4)),
    " ".join(_SENTENCES),
)

PAIRS: tuple[tuple[str, str], ...] = (
    ("A man is playing a guitar.", "Someone makes music."),
    ("No.", "The child watches two dogs that run across a field of tall grass."),
    (_SENTENCES[0], _SENTENCES[1]),
)
