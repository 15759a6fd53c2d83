"""The findings in a corpus as a page that needs nothing else."""

from collections.abc import Iterable, Iterator
from html import escape

from normxlogit.corpus.findings import ClassWords, Difference, Findings, Label, Values
from normxlogit.show import phrases
from normxlogit.show.corpus import view
from normxlogit.show.html import asset, document
from normxlogit.show.markup import look, signed, track


def page(findings: Findings) -> str:
    """A self-contained page."""
    style = asset("fragment.css") + asset("corpus.css")
    title = f"{view.counted(findings.rows, 'row')} in {findings.folder}"
    main = "".join(_parts(findings, title))
    return document(
        f"{phrases.one_line(title)} - normxlogit",
        f'<article class="normxlogit nx-corpus">\n{main}</article>\n',
        style,
    )


def _parts(findings: Findings, title: str) -> Iterator[str]:
    yield f"<h2><strong>{_text(title)}</strong></h2>\n"
    for sentence in view.warnings(findings):
        yield f'<p class="nx-warning">{escape(sentence)}</p>\n'
    facts = view.facts(findings)
    rows = "".join(f"<dt>{escape(what)}</dt><dd>{escape(value)}</dd>\n" for what, value in facts)
    yield f"<dl>{rows}</dl>\n"
    if findings.labels:
        yield from _labels(findings, findings.labels)
    for values in findings.values or ():
        yield from _values(findings, values)
    yield f"<p>{escape(view.agreement(findings))}</p>\n"
    if findings.words:
        yield "<h3>Words with the highest mean attribution</h3>\n"
        yield f'<p class="nx-quiet">{escape(view.MEANING)}</p>\n<div class="nx-classes">\n'
        for part in findings.words[: view.CLASSES]:
            yield from _words(findings, part)
        yield "</div>\n"
        yield _cut(len(findings.words), "with most records")
    if findings.differences:
        yield f"<h3>{escape(view.differing(findings))}</h3>\n"
    for difference in findings.differences:
        yield from _difference(findings, difference)


def _text(text: str) -> str:
    return escape(phrases.one_line(text))


def _cut(count: int, which: str) -> str:
    if count <= view.CLASSES:
        return ""
    return f'<p class="nx-quiet">The {view.CLASSES} labels of {count} {which}.</p>\n'


def _counts(rows: Iterable[str], what: str = "rows") -> str:
    head = (
        f'<thead><tr><td></td><th scope="col" class="nx-number">{what}</th>'
        '<td aria-hidden="true"></td></tr></thead>\n'
    )
    return _bars(head, "nx-counts", rows)


def _bars(head: str, classes: str, rows: Iterable[str]) -> str:
    return f'<table class="nx-bars {classes}">{head}<tbody>\n{"".join(rows)}</tbody></table>\n'


def _labels(findings: Findings, labels: tuple[Label, ...]) -> Iterator[str]:
    predicted = sum(label.predicted for label in labels)
    given = sum(label.given for label in labels)
    most = max(max(label.predicted, label.given) for label in labels) or 1

    def row(name: str, count: int, whole: int, classes: str = "") -> str:
        return (
            f'<tr{classes}><th scope="row" dir="auto">{name}</th>'
            f'<td class="nx-number">{count:,} · {view.share(count, whole)}</td>'
            f"{track(count, 0, most)}</tr>\n"
        )

    rows = []
    for label in labels[: view.CLASSES]:
        name = escape(view.name(findings, label.label))
        if given:
            rows.append(f'<tr><th scope="colgroup" colspan="3" dir="auto">{name}</th></tr>\n')
            rows.append(row("predicted", label.predicted, predicted))
            rows.append(row("label", label.given, given, ' class="nx-given"'))
        else:
            rows.append(row(name, label.predicted, predicted))
    yield "<h3>Labels</h3>\n"
    yield _counts(rows, "words" if findings.task == "token-classification" else "rows")
    yield _cut(len(labels), "predicted most")


def _values(findings: Findings, values: Values) -> Iterator[str]:
    name = escape(view.name(findings, values.label))
    said = f"mean {values.mean:.3f}, from {values.low:.3f} to {values.high:.3f}"
    low, high = values.edges
    most, rows = max(values.bins) or 1, []
    for number, count in enumerate(values.bins):
        start = low + (high - low) * number / len(values.bins)
        rows.append(
            f'<tr><th scope="row">from {start:.3f}</th><td class="nx-number">{count:,}</td>'
            f"{track(count, 0, most)}</tr>\n"
        )
    yield f"<h3>What was predicted: {name}</h3>\n<p>{said.capitalize()}.</p>\n"
    yield _counts(rows)


def _words(findings: Findings, part: ClassWords) -> Iterator[str]:
    means = [word.mean for word in part.words]
    low, high = max(0.0, -min(means, default=0.0)), max(0.0, max(means, default=0.0))
    largest = max(low, high) or 1.0
    rows = (
        f'<tr><th scope="row" dir="auto">{_text(phrases.shortened(word.word, 40))}</th>'
        f'<td class="nx-number">{signed(word.mean, largest)}</td>'
        f'<td class="nx-number">{word.count:,}</td>{track(word.mean, low, high)}</tr>\n'
        for word in part.words
    )
    head = (
        '<thead><tr><th scope="col">word</th><th scope="col" class="nx-number">mean</th>'
        '<th scope="col" class="nx-number">count</th><td aria-hidden="true"></td></tr></thead>\n'
    )
    yield (
        f"<section><h4><strong>{escape(view.name(findings, part.target))}</strong><br>"
        f"{escape(view.chosen(part))}</h4>\n"
    )
    yield (_bars(head, "nx-ranked", rows) if part.words else "") + "</section>\n"


def _difference(findings: Findings, difference: Difference) -> Iterator[str]:
    said, label, target = (
        escape(view.name(findings, name))
        for name in (difference.prediction, difference.label, difference.target)
    )
    if findings.problem == "regression":
        heading = f"<strong>{escape(view.amount(findings, difference.value))}</strong>"
    else:
        heading = f"<strong>{said}</strong> {view.amount(findings, difference.value)}"
    yield (
        f'<section class="nx-difference"><h4>{heading}, label <strong>{label}</strong> '
        f"<span>{escape(view.row_name(difference))}</span></h4>\n"
    )
    for text in view.texts(difference, 400):
        yield f'<p dir="auto">{escape(text)}</p>\n'
    largest = max((abs(score) for _, score in difference.words), default=1.0) or 1.0
    words = " ".join(
        f"<span><mark{look(score / largest)}>{_text(phrases.shortened(word, 40))}</mark> "
        f"{signed(score, largest)}</span>"
        for word, score in difference.words
    )
    yield f'<p class="nx-strongest">for {target}: {words}</p></section>\n'
