"""What a model does with words of a text hidden, held against the scores of these words."""

from dataclasses import dataclass, fields

from normxlogit.data.plain import Plain


@dataclass(frozen=True)
class Verification:
    """How far the scores of one target hold when words of the text are hidden.

    Outcomes are the target's probability, or the value of a regression.

    Attributes:
        operator: how words are hidden: "mask", "remove" or "eos".
        words: how many words the text has.
        top: the words with the highest scores that are hidden together, the highest first.
        whole: the outcome with nothing hidden.
        without_top: with `top` hidden.
        top_alone: with all words but `top` hidden.
        random_without: with as many words hidden, the first of a random order, for each order.
        random_alone: with all words but these hidden, for each order.
        sets: how many random sets of words `explained_variance` is over; 0 if it is None.
        explained_variance: of additive scores, the share of the variance over these sets of the
            readout that base value and scores of the shown words account for: 1 if they tell it
            exactly, below 0 if its mean tells it better. None if scores are not additive, or there
            is no variance.
        shuffled_variance: the mean of the same with the scores dealt out to the words at random.
        passes: how many times the model was run, for all targets together.
    """

    operator: str
    words: int
    top: tuple[str, ...]
    whole: float
    without_top: float
    top_alone: float
    random_without: tuple[float, ...]
    random_alone: tuple[float, ...]
    sets: int
    explained_variance: float | None
    shuffled_variance: float | None
    passes: int


OPERATORS = ("mask", "remove", "eos")
"""How words may be hidden."""

MOST = 3
"""How many words are hidden together at most: as many as one sentence can name."""

_FIELDS = tuple(field.name for field in fields(Verification))


def read_verifications(
    data: Plain, count: int, *, has_probabilities: bool
) -> tuple[Verification, ...] | None:
    """Read what `asdict` made of the verifications of `count` targets; None if there are none.

    Raises:
        InputError: it is something else.
    """
    if "verifications" not in data.value:
        return None
    items = data.get("verifications").items(count, count)
    return tuple(_read_verification(item, has_probabilities) for item in items)


def _read_verification(item: Plain, has_probabilities: bool) -> Verification:
    item.has_only(_FIELDS)
    values = {name: item.get(name) for name in _FIELDS}

    def outcome(value: Plain) -> float:
        # Rounding may put a probability a little above 1.
        return value.number(0.0, 1.001) if has_probabilities else value.number()

    words = values["words"].integer(1)
    without = tuple(map(outcome, values["random_without"].items(1)))
    sets = values["sets"].integer()
    explained, shuffled = (
        values[name].optional(lambda share: share.number(most=1.0))
        for name in ("explained_variance", "shuffled_variance")
    )
    item.require(
        (explained is None) == (shuffled is None) == (sets == 0),
        "a verification with sets of words and both variances, or with none of these",
    )
    return Verification(
        operator=values["operator"].choice(OPERATORS),
        words=words,
        top=tuple(word.text() for word in values["top"].items(1, min(words, MOST))),
        whole=outcome(values["whole"]),
        without_top=outcome(values["without_top"]),
        top_alone=outcome(values["top_alone"]),
        random_without=without,
        random_alone=tuple(map(outcome, values["random_alone"].items(len(without), len(without)))),
        sets=sets,
        explained_variance=explained,
        shuffled_variance=shuffled,
        passes=values["passes"].integer(1),
    )
