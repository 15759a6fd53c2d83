"""What terminal and page alike say of the findings in a corpus."""

from normxlogit.corpus.findings import ClassWords, Difference, Findings
from normxlogit.show import phrases

CLASSES = 12
"""Of how many labels the words are shown, and so many labels with their counts; JSON has all."""

MEANING = (
    "Mean attribution is the mean of a word's scores over its occurrences, in upper and lower case "
    "alike, in the texts that were explained for that label. It tells what the scores are like, "
    "not what caused the predictions."
)


def name(findings: Findings, label: str | None) -> str:
    """What a label is called; "the value" for the nameless output of a regression."""
    if label is None:
        return "all targets together"
    if label == "LABEL_0" and len(findings.values or ()) == 1:
        return "the value"
    if findings.problem in ("token", "span"):
        return phrases.token(label)
    return phrases.shortened(phrases.one_line(label))


def amount(findings: Findings, value: float) -> str:
    """A probability, or a regression's value."""
    return f"{value:.3f}" if findings.problem == "regression" else phrases.percent(value)


def share(part: int, whole: int) -> str:
    """A part in percent; 0 and 100 are exact."""
    return phrases.percent(part / whole) if whole else "–"


def counted(number: int, what: str) -> str:
    """For example "2 rows"."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def facts(findings: Findings) -> list[tuple[str, str]]:
    """Names and values of what was counted and asked."""
    errors = ", ".join(f"{count:,} {kind}" for kind, count in findings.errors.items())
    asked, shards = findings.options, counted(findings.shards, "shard")
    found = [
        ("Rows", f"{findings.rows:,}, of which {findings.explained:,} were explained"),
        ("Errors", f"{sum(findings.errors.values()):,}" + (f" ({errors})" if errors else "")),
        ("Written", f"{counted(findings.records, 'record')} in {shards}"),
        ("Tokens", f"{findings.tokens:,}"),
        ("Model", findings.model),
        ("Method", _how(findings)),
        ("Target", _target(asked["target"])),
    ]
    if asked["contrast"] is not None:
        found.append(("Contrast", str(asked["contrast"])))
    return [(what, phrases.one_line(value)) for what, value in found]


def _how(findings: Findings) -> str:
    asked = findings.options
    parts = [asked["method"], *(f"{name}={value}" for name, value in asked["options"].items())]
    parts += [f"{what} {asked[what]}" for what in ("readout", "layer") if asked[what] is not None]
    return ", ".join(parts)


def _target(asked: object) -> str:
    if asked is None:
        return "what is predicted"
    return ", ".join(map(str, asked)) if isinstance(asked, list) else str(asked)


def warnings(findings: Findings) -> list[str]:
    """What the findings leave out."""
    found = []
    if not findings.finished:
        found.append(
            f"This run is not finished: what follows is of {counted(findings.rows, 'row')} so far."
        )
    if findings.broken:
        found.append(f"Files that could not be read: {', '.join(findings.broken)}.")
    if findings.unknown_rows:
        what = "are no numbers" if findings.problem == "regression" else "the model does not have"
        found.append(
            f"Not compared: {counted(findings.unknown_rows, 'row')} with labels that {what} "
            f"({', '.join(findings.unknown)})."
        )
    if findings.labels is None and findings.values is None:
        found.append("There are too many different predictions to count each.")
    if any(part.target is None for part in findings.words):
        found.append("There are too many different targets to tell the words of each.")
    return [phrases.one_line(sentence) for sentence in found]


def agreement(findings: Findings) -> str:
    """How prediction and label agree, in a sentence."""
    if not findings.compared:
        return "No row has a label to compare its prediction with."
    rows = counted(findings.compared, "row")
    if findings.mean_difference is not None:
        apart = f"{findings.mean_difference:.3f}"
        return f"Prediction and label are {apart} apart on average, over {rows}."
    part = share(findings.differing, findings.compared)
    return f"Prediction and label differ on {findings.differing:,} of {rows} ({part})."


def differing(findings: Findings) -> str:
    """Which rows are listed."""
    if findings.problem == "regression":
        return "The rows on which prediction and label are farthest apart"
    return "The rows on which prediction and label differ, the surest predictions first"


def chosen(part: ClassWords) -> str:
    """Which words are listed of a label."""
    shown = f"{counted(part.records, 'record')}; the highest {len(part.words)} of "
    words = f"{counted(part.eligible, 'word')} that occur {counted(part.min_count, 'time')} or more"
    if part.words:
        return shown + words
    return f"{counted(part.records, 'record')}; {words}"


def row_name(difference: Difference) -> str:
    """The row's number, its id and its file."""
    parts = [f"row {difference.row}"]
    parts += [f"id {difference.id}"] if difference.id is not None else []
    parts += [difference.file] if difference.file is not None else []
    return phrases.one_line(", ".join(parts))


def texts(difference: Difference, length: int) -> list[str]:
    """The text, or both of a pair, or the hashes in their place."""
    found = []
    for text, digest in (
        (difference.text, difference.text_sha256),
        (difference.pair, difference.pair_sha256),
    ):
        if text is not None:
            found.append(phrases.shortened(" ".join(phrases.visible(text).split()), length))
        elif digest is not None:
            found.append(f"SHA-256 {digest}")
    return found
