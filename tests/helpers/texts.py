"""Texts for each kind of head."""

TEXTS = [
    "A great movie with poor performers.",
    "Good.",
    "I didn't like it, but the acting is not bad at all!",
]
QUESTION = "what movie"
CONTEXT = "A great movie with poor performers, a great plot."
MASKED = [
    "A great <mask> with poor performers.",
    "<mask>.",
    "I didn't like it, but the <mask>",
]
PROMPT, CONTINUATION = "A great movie.\nBut the plot", " is not bad. Good!\nDon't watch it 👍🏽"
