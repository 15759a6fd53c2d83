"""The words of a corpus' summary, which terminal and page share."""

from normxlogit.corpus.summaries.findings import ClassWords, Difference, Findings, Values, Word
from normxlogit.show import phrases

CLASSES = 12
"""How many labels are shown with their words, and with their counts; JSON has all."""

_LEAD = (
    "how far the mean is above that of all words, at the least: the lower end of the 95% "
    "interval, which is wide for rare words"
)
CAVEAT = "This describes the scores, not the causes of the predictions."


def name(findings: Findings, label: str | None) -> str:
    """Return the name of a label; "the value" for the nameless output of a regression."""
    if label is None:
        return "all targets together"
    if label == "LABEL_0" and len(findings.values or ()) == 1:
        return "the value"
    if findings.problem in ("token", "span"):
        return phrases.token(label)
    return phrases.shortened(phrases.one_line(label))


def amount(findings: Findings, value: float) -> str:
    """Return a probability, or a regression's value."""
    return phrases.decimal(value) if findings.problem == "regression" else phrases.percent(value)


def spread(values: Values) -> str:
    """Return a sentence on the predictions of a regression."""
    mean, low, high = map(phrases.decimal, (values.mean, values.low, values.high))
    return f"Mean {mean}, from {low} to {high}."


def share(part: int, whole: int) -> str:
    """Return a part in percent; 0 and 100 are exact."""
    return phrases.percent(part / whole) if whole else "–"


def counted(number: int, what: str) -> str:
    """Return for example "2 rows"."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def facts(findings: Findings) -> list[tuple[str, str]]:
    """Return names and values: counts, and the options of the run."""
    errors = ", ".join(f"{count:,} {kind}" for kind, count in findings.errors.items())
    options, shards = findings.options, counted(findings.shards, "shard")
    unlike = f"{findings.unlike:,} of {counted(findings.judged, 'text')} "
    unlike += "unlike those that the attribution head was fitted on"
    unlike += ": trust their scores less" if findings.unlike else ""
    pairs = [
        ("Rows", f"{findings.rows:,}, of which {findings.explained:,} were explained"),
        ("Errors", f"{sum(findings.errors.values()):,}" + (f" ({errors})" if errors else "")),
        *([("Unlike", unlike)] if findings.judged else []),
        ("Written", f"{counted(findings.records, 'record')} in {shards}"),
        ("Tokens", f"{findings.tokens:,}"),
        ("Model", phrases.without_folders(findings.model)),
        ("Method", _how(findings)),
        ("Target", _target(options["target"])),
    ]
    if options["contrast"] is not None:
        pairs.append(("Contrast", str(options["contrast"])))
    return [(what, phrases.one_line(value)) for what, value in pairs]


def _how(findings: Findings) -> str:
    run, of_method = findings.options, findings.options["options"]
    # A head is named by a hash, whose ends tell it from others.
    values = {name: phrases.shortened(str(value), 20) for name, value in of_method.items()}
    parts = [run["method"], *(f"{name}={value}" for name, value in values.items())]
    parts += [f"{what} {run[what]}" for what in ("readout", "layer") if run[what] is not None]
    return ", ".join(parts)


def _target(target: object) -> str:
    if target is None:
        return "what is predicted"
    return ", ".join(map(str, target)) if isinstance(target, list) else str(target)


def warnings(findings: Findings) -> list[str]:
    """Return sentences on what the summary leaves out."""
    sentences = []
    if not findings.finished:
        sentences.append(
            f"This run is not finished: what follows is of {counted(findings.rows, 'row')} so far."
        )
    if findings.broken:
        sentences.append(f"Files that could not be read: {', '.join(findings.broken)}.")
    if findings.unknown_rows:
        what = "are no numbers" if findings.problem == "regression" else "the model does not have"
        sentences.append(
            f"Not compared: {counted(findings.unknown_rows, 'row')} with labels that {what} "
            f"({', '.join(findings.unknown)})."
        )
    if findings.labels is None and findings.values is None:
        sentences.append("There are too many different predictions to count each.")
    if any(part.target is None for part in findings.words):
        sentences.append("There are too many different targets to list the words of each.")
    return [phrases.one_line(sentence) for sentence in sentences]


def agreement(findings: Findings) -> str:
    """Return a sentence on how far predictions and labels agree."""
    if not findings.compared:
        return "No row has a label to compare its prediction with."
    rows = counted(findings.compared, "row")
    if findings.mean_difference is not None:
        apart = phrases.decimal(findings.mean_difference)
        return f"Prediction and label are {apart} apart on average, over {rows}."
    part = share(findings.differing, findings.compared)
    return f"Prediction and label differ on {findings.differing:,} of {rows} ({part})."


def differing(findings: Findings) -> str:
    """Return which rows are listed."""
    if findings.problem == "regression":
        return "The rows on which prediction and label are farthest apart"
    return "The rows on which prediction and label differ, the surest predictions first"


def chosen(part: ClassWords) -> str:
    """Return which words of a label are listed; if none is, why, and what lists some."""
    records, often = counted(part.records, "record"), counted(part.min_count, "time")
    words = "1 word that occurs" if part.eligible == 1 else f"{part.eligible:,} words that occur"
    of_words = f"of {words} {often} or more"
    if part.leading:
        shown = f"{records}; {of_words}, {part.leading:,} stand{'s' * (part.leading == 1)} out"
        return f"{shown}, {len(part.words):,} shown" if len(part.words) < part.leading else shown
    none = f"no word occurs {often} or more"
    why = f"{of_words}, none stands out" if part.eligible else none
    rarer = part.min_count // 2
    hint = (
        f"For rarer words: normxlogit summary --min-count {rarer}."
        if rarer
        else "More texts may show some."
    )
    return f"{records}; {why}. {hint}"


def meaning(findings: Findings) -> list[tuple[str, str]]:
    """Return what the columns of words say, and which words are listed; empty if none is."""
    if not any(part.words for part in findings.words):
        return []
    by_frequency = any(part.by_frequency for part in findings.words)
    count = "in how many places it has a score for the label"
    listed = "words with a lead above a fifth of the standard deviation of all scores"
    if by_frequency:
        count += ", of those for any label"
        listed += ", that occur with the label more often than chance would have it"
    return [
        ("lead", f"{_LEAD}."),
        ("mean", "of the word's scores for the label; upper and lower case are one word."),
        ("count", f"{count}."),
        ("listed", f"{listed}."),
    ]


def scored(findings: Findings, difference: Difference) -> str:
    """Return what the numbers beside the strongest words of a row are."""
    says = f"Scores for {name(findings, difference.target)}, the largest by size"
    # A log-probability has no side, and of a regression's readouts each says something else.
    has_sides = findings.problem != "regression" and findings.options["readout"] != "logprob"
    opposes = has_sides and any(score < 0 for _, score in difference.words)
    return f"{says}; below zero against it:" if opposes else f"{says}:"


def occurrences(word: Word, part: ClassWords) -> str:
    """Return how often a word occurs with a label, of how often in all."""
    whole = f" of {word.corpus_count:,}" if part.by_frequency else ""
    return f"{word.count:,}{whole}"


def row_name(difference: Difference) -> str:
    """Return the row's number, its id and its file."""
    parts = [f"row {difference.row}"]
    parts += [f"id {difference.id}"] if difference.id is not None else []
    parts += [difference.file] if difference.file is not None else []
    return phrases.one_line(", ".join(parts))


def hashes(difference: Difference) -> list[str]:
    """Return what stands in place of texts that were not kept."""
    digests = (difference.text_sha256, difference.pair_sha256)
    return [f"SHA-256 {digest}" for digest in digests if digest is not None]
