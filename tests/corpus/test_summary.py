"""What a summary says of a corpus is what plain Python counts in its rows."""

import json
import math
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import binom
from typer.testing import CliRunner

from normxlogit import Explainer, InputError, MissingExtraError, OptionError, cli
from normxlogit.corpus import Findings, shards, summary
from normxlogit.corpus.summaries import tally
from normxlogit.show.templating import asset
from tests.helpers.corpora import LABELS, TEXTS, mark_unfinished, read_shards, write_lines
from tests.helpers.models import causal_lm, explainer_with_head, token_classifier
from tests.helpers.notebook import lost_when_untrusted
from tests.helpers.pages import HOSTILE, HTMLReader
from tests.helpers.policy import assert_policy
from tests.helpers.tiny import tiny_classifier

CLASSIFIER = {
    "name": "some/model",
    "task": "text-classification",
    "problem": "single_label_classification",
    "labels": ["NEGATIVE", "POSITIVE"],
}
REGRESSION = CLASSIFIER | {"problem": "regression", "labels": ["LABEL_0"]}


def record(row: int, words: dict[str, float] | None = None, **values: Any) -> dict[str, Any]:
    """A record of a row that was explained."""
    words = {"good": 1.0} if words is None else words
    found = {
        "row": row,
        "text": " ".join(words),
        "prediction": "POSITIVE",
        "prediction_value": 0.75,
        "words": list(words),
        "word_scores": list(words.values()),
    }
    found["target"] = values.get("prediction", "POSITIVE")
    found["target_value"] = values.get("prediction_value", 0.75)
    return found | values


def run_of(
    folder: Path, records: list[dict[str, Any]], model: dict[str, Any] = CLASSIFIER, **manifest: Any
) -> Path:
    """A finished run of one shard with these records."""
    folder.mkdir()
    rows = len({record["row"] for record in records})
    counts = {"rows": rows, "errors": {}, "records": len(records), "tokens": 7, "shards": 1}
    progress = counts | {"broken": {}, "first_error": None}
    after = {"row": rows, "part": 0, "place": rows}
    schema = shards.schema(float16=False)
    columns = {name: [record.get(name) for record in records] for name in schema.names}
    with shards.Writer(folder / shards.file_name(0), hashed=False, float16=False) as shard:
        shard.append(pa.table(columns, schema))
        shard.close({"run": "it", "shard": 0, "progress": progress, "next": after})
    data = {
        "schema": "normxlogit/corpus/1",
        "shard_schema": shards.SCHEMA,
        "state": "finished",
        "run": "it",
        "counts": counts,
        "broken": {},
        "model": model,
        "options": {
            "method": "normxlogit",
            "options": {},
            "target": None,
            "contrast": None,
            "readout": None,
            "layer": None,
        },
    }
    (folder / "manifest.json").write_text(json.dumps(data | manifest))
    return folder


def words_of(rows: list[dict[str, Any]], least: int) -> dict[str, dict[str, tuple[Any, ...]]]:
    """Of each target the words that push it, with lead, mean, count, and count in the corpus."""
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        for word, score in zip(row["words"], row["word_scores"], strict=True):
            if math.isfinite(score):
                scores[row["target"]][word.casefold()].append(score)
    all_words = [(t, w) for t, of_word in scores.items() for w, s in of_word.items() for _ in s]
    one_each = len(scores) > 1 and len(rows) == len({row["row"] for row in rows})
    leading: dict[str, dict[str, tuple[Any, ...]]] = {}
    for target, of_word in scores.items():
        everything = np.concatenate([np.array(s, float) for s in of_word.values()])
        within = float(sum(len(s) * np.var(s) for s in of_word.values()))
        freedom = len(everything) - len(of_word)
        within = within / freedom if freedom else float(np.var(everything))
        share = len(everything) / len(all_words)
        leading[target] = {}
        for word, s in of_word.items():
            count, in_corpus = len(s), [w for _, w in all_words].count(word)
            variance = (count * np.var(s) + 4 * within) / (count + 3)
            lead = np.mean(s) - everything.mean() - 1.96 * np.sqrt(variance / count)
            chance = binom(in_corpus, share)
            is_frequent = count == in_corpus or count > chance.mean() + chance.std()
            is_large = lead > max(0.2 * everything.std(), 1e-6)
            if count >= least and is_large and (is_frequent or not one_each):
                leading[target][word] = (lead, np.mean(s), count, in_corpus)
    return leading


def assert_words(found: Findings, rows: list[dict[str, Any]], least: int, top: int) -> None:
    expected = words_of(rows, least)
    assert {part.target for part in found.words} == set(expected)
    for part in found.words:
        wanted = expected[str(part.target)]
        assert part.records == sum(row["target"] == part.target for row in rows)
        words = [word for word in part.words if word.lead > 1e-6]
        assert len(words) == min(top, len(wanted))
        for w in words:
            np.testing.assert_allclose(
                (w.lead, w.mean, w.count, w.corpus_count), wanted[w.word], atol=1e-5
            )
        leads = sorted((lead for lead, *_ in wanted.values()), reverse=True)
        np.testing.assert_allclose([w.lead for w in words], leads[:top], atol=1e-5)


@pytest.fixture(scope="module")
def explainer(tmp_path_factory: pytest.TempPathFactory) -> Explainer:
    return Explainer.from_pretrained(str(tiny_classifier(tmp_path_factory.mktemp("model"))))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards and batches of few rows, in this process."""
    monkeypatch.setattr(shards, "ROWS", 10)
    monkeypatch.setattr(tally, "BATCH", 3)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("options", [{}, {"target": "all"}, {"target": "NEGATIVE", "hash": True}])
def test_a_run_against_plain_python(
    options: dict[str, Any], explainer: Explainer, tmp_path: Path
) -> None:
    numbers = {"NEGATIVE": 0, "POSITIVE": "positive"}
    source = tmp_path / "reviews.csv"
    texts = [f"{TEXTS[n % 7]} {n % 5}".upper() if n % 3 else TEXTS[n % 7] for n in range(33)]
    gold = [str(numbers[label]) if n % 4 else label for n, label in enumerate(LABELS * 5)][:33]
    frame = pd.DataFrame({"text": [*texts, " "], "gold": [*gold, "1"], "n": range(34)})
    frame.to_csv(source, index=False)
    explainer.corpus(source, tmp_path / "out", label="gold", id="n", **options)
    rows = read_shards(tmp_path / "out")
    found = summary(tmp_path / "out", top=6, min_count=2)

    assert (found.rows, found.explained, found.errors) == (34, 33, {"blank": 1})
    assert (found.records, found.shards, found.finished) == (len(rows), 4, True)
    one_each = {row["row"]: row for row in rows if row["error"] is None}
    truth = {n: LABELS[n % 7] for n in one_each}
    predicted = Counter(row["prediction"] for row in one_each.values())
    assert found.labels is not None
    assert {label.label: label.given for label in found.labels} == Counter(truth.values())
    for label in found.labels:
        assert label.predicted == predicted[label.label]
    assert_words(found, [row for row in rows if row["error"] is None], 2, 6)

    differing = [row for n, row in one_each.items() if row["prediction"] != truth[n]]
    assert (found.compared, found.differing) == (33, len(differing))
    differing.sort(key=lambda row: (-row["prediction_value"], row["row"]))
    assert [d.row for d in found.differences] == [row["row"] for row in differing[:6]]
    assert 0 < len(differing) < 33
    for d in found.differences:
        own = [row for row in rows if row["row"] == d.row]
        row = next((r for r in own if r["target"] == d.prediction), own[0])
        assert (d.label, d.prediction) == (truth[d.row], row["prediction"])
        assert (d.id, d.file, d.value) == (str(d.row), "reviews.csv", row["prediction_value"])
        assert (d.text, d.text_sha256) == (row["text"], row["text_sha256"])
        assert (d.text is None) == ("hash" in options)
        scored = list(zip(row["words"], row["word_scores"], strict=True))
        assert list(d.words) == sorted(scored, key=lambda w: -abs(w[1]))[:5]
        if d.text is None:
            assert d.marks == ()
        else:
            assert [(d.text[start:end], score) for start, end, score in d.marks[0]] == scored


def test_words_are_folded_and_a_rare_score_does_not_win(tmp_path: Path) -> None:
    records = [record(n, {"Good": 4.0, "GOOD": 6.0, "the": 1.0, "nan": math.nan}) for n in range(5)]
    records += [record(n, {"straße": 5.0, "fluke": 40.0 * (n == 5)}) for n in range(5, 9)]
    records += [record(9, {"STRASSE": 5.0, "fluke": 0.0})]
    (part,) = summary(run_of(tmp_path / "out", records)).words
    assert (part.target, part.records, part.min_count) == ("POSITIVE", 10, 5)
    assert (part.eligible, part.by_frequency) == (4, False)
    assert part.mean == pytest.approx((50 + 5 + 25 + 40) / 25)
    # The fluke has the highest mean, 8, and no lead: it is uncertain.
    assert part.words == ()
    more = [record(10 + n, {"a": 1.0, "b": 1.0, "fluke": 0.0}) for n in range(100)]
    (part,) = summary(run_of(tmp_path / "more", records + more)).words
    assert [(w.word, w.mean, w.count) for w in part.words] == [
        ("good", 5.0, 10),
        ("strasse", 5.0, 5),
    ]
    assert (part.eligible, part.leading) == (6, 2)
    (part,) = summary(tmp_path / "more", top=1).words
    assert [w.word for w in part.words] == ["good"]
    assert part.leading == 2


def test_words_that_every_text_has_are_not_listed(tmp_path: Path) -> None:
    records = []
    for n in range(60):
        label, own = ("POSITIVE", "good") if n % 3 else ("NEGATIVE", "bad")
        words = {own: 5.0, "the": 4.0, f"w{n}": 0.0, f"v{n}": 0.0, f"u{n}": 0.0}
        records.append(record(n, words, prediction=label, target=label))
    found = summary(run_of(tmp_path / "out", records))
    assert [part.by_frequency for part in found.words] == [True, True]
    assert {part.target: [w.word for w in part.words] for part in found.words} == {
        "POSITIVE": ["good"],
        "NEGATIVE": ["bad"],
    }
    # For all labels of a text its words are the same, and only their scores can tell.
    both = [r | {"target": label} for r in records for label in ("POSITIVE", "NEGATIVE")]
    found = summary(run_of(tmp_path / "both", both))
    assert [part.by_frequency for part in found.words] == [False, False]
    assert all("the" in [w.word for w in part.words] for part in found.words)


def test_the_least_count_grows_with_the_records(tmp_path: Path) -> None:
    records = [record(n, {"often": 1.0, f"w{n % 1000}": 2.0}) for n in range(5001)]
    records += [record(6000 + n, prediction="NEGATIVE") for n in range(7)]
    found = summary(run_of(tmp_path / "out", records))
    assert [(part.target, part.min_count) for part in found.words] == [
        ("POSITIVE", 6),
        ("NEGATIVE", 5),
    ]
    assert [(w.word, w.count) for w in found.words[0].words] == [("w0", 6)]


def test_records_are_read_in_pieces(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "out", [record(n) for n in range(3000)])
    sizes = [len(batch) for batch in tally.read_batches(shards.list_paths(folder))]
    assert sum(sizes) == 3000
    assert max(sizes) <= tally.BATCH


@pytest.mark.usefixtures("small")
def test_a_row_in_two_batches_counts_once(tmp_path: Path) -> None:
    records = []
    for n in range(5):
        both = {"prediction_value": 0.5 + n / 100, "label": "NEGATIVE"}
        for target, value in (("NEGATIVE", 0.4), ("POSITIVE", 0.6)):
            records.append(record(n, {target: value}, target=target, target_value=value, **both))
    found = summary(run_of(tmp_path / "out", records), top=2)
    assert (found.explained, found.compared, found.differing) == (5, 5, 5)
    assert [(d.row, d.target) for d in found.differences] == [(4, "POSITIVE"), (3, "POSITIVE")]
    assert [word for d in found.differences for word, _ in d.words] == ["POSITIVE"] * 2


def test_labels_the_model_does_not_have(tmp_path: Path) -> None:
    records = [record(0, label="mixed"), record(1, label="1"), record(2, label="2"), record(3)]
    found = summary(run_of(tmp_path / "out", records))
    assert (found.compared, found.differing, found.unknown_rows) == (1, 0, 2)
    assert found.unknown == ("mixed", "2")
    assert "Not compared: 2 rows with labels that the model does not have (mixed, 2)." in str(found)
    assert "differ on 0 of 1 row (0.0%)" in str(found)


def test_nothing_runs_but_what_the_page_was_made_with(tmp_path: Path) -> None:
    assert_policy(summary(run_of(tmp_path / "out", [record(0, {HOSTILE: 1.0})])).to_html())


def test_no_labels(tmp_path: Path) -> None:
    found = summary(run_of(tmp_path / "out", [record(0)]))
    assert (found.compared, found.differences) == (0, ())
    for shown in (str(found), found.to_html(), found._repr_html_()):
        assert "No row has a label to compare its prediction with." in shown
    assert found.labels is not None
    assert [(label.label, label.predicted) for label in found.labels] == [
        ("POSITIVE", 1),
        ("NEGATIVE", 0),
    ]


def test_a_regression(tmp_path: Path) -> None:
    explainer = Explainer.from_pretrained(
        str(tiny_classifier(tmp_path / "model", labels=("LABEL_0",)))
    )
    source = tmp_path / "reviews.csv"
    gold = ["0.5", "-1", "2", "none", "1e1", "0", "nan"]
    pd.DataFrame({"text": TEXTS, "gold": gold}).to_csv(source, index=False)
    explainer.corpus(source, tmp_path / "out", label="gold")
    rows = read_shards(tmp_path / "out")
    found = summary(tmp_path / "out", top=3, min_count=1)
    values = [row["prediction_value"] for row in rows]
    assert found.labels is None
    assert found.values is not None
    (said,) = found.values
    assert said.mean == pytest.approx(np.mean(values))
    assert (said.low, said.high, said.count) == (min(values), max(values), 7)
    np.testing.assert_array_equal(said.bins, np.histogram(values, 20)[0])
    apart = {n: abs(values[n] - float(gold[n])) for n in (0, 1, 2, 4, 5)}
    assert found.compared == 5
    assert found.mean_difference == pytest.approx(np.mean(list(apart.values())))
    order = sorted(apart, key=lambda n: -apart[n])
    assert [d.row for d in found.differences] == order[:3]
    assert_words(found, rows, 1, 3)
    for shown in (str(found), found.to_html()):
        assert "the value" in shown
        assert "LABEL_0" not in shown
        assert "2 rows with labels that are no numbers (none, nan)" in shown
        assert f"{values[order[0]]:.3f}" in shown


def test_a_regression_of_several_values(tmp_path: Path) -> None:
    model = tiny_classifier(tmp_path / "model", labels=("A", "B"), problem_type="regression")
    source = write_lines(tmp_path / "reviews.txt", [text.replace("\n", " ") for text in TEXTS])
    Explainer.from_pretrained(str(model)).corpus(source, tmp_path / "out")
    rows = read_shards(tmp_path / "out")
    found = summary(tmp_path / "out")
    assert found.values is not None
    assert (found.explained, found.compared) == (7, 0)
    for said in found.values:
        values = [row["target_value"] for row in rows if row["target"] == said.label]
        assert said.mean == pytest.approx(np.mean(values))
        assert sum(said.bins) == said.count == 7
    assert [said.label for said in found.values] == ["A", "B"]


def test_several_labels_at_once(tmp_path: Path) -> None:
    model = tiny_classifier(
        tmp_path / "model", labels=("A", "B", "C"), problem_type="multi_label_classification"
    )
    source = write_lines(tmp_path / "reviews.txt", [text.replace("\n", " ") for text in TEXTS])
    Explainer.from_pretrained(str(model)).corpus(source, tmp_path / "out", threshold=0.4)
    rows = read_shards(tmp_path / "out")
    found = summary(tmp_path / "out", min_count=1)
    assert len(rows) > 7
    assert (found.rows, found.explained) == (7, 7)
    assert found.labels is not None
    assert sum(label.predicted for label in found.labels) == 7
    assert_words(found, rows, 1, 20)


def test_a_tagger_counts_words(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "texts.txt", TEXTS[:3])
    token_classifier().corpus(source, tmp_path / "out")
    rows = read_shards(tmp_path / "out")
    found = summary(tmp_path / "out", min_count=1)
    assert found.labels is not None
    counts = Counter(row["target"] for row in rows)
    assert {label.label: label.predicted for label in found.labels if label.predicted} == counts
    assert (found.explained, found.compared) == (3, 0)


@pytest.mark.parametrize("head", ["an answer", "the next token"])
def test_heads_without_labels(head: str, tmp_path: Path) -> None:
    explainer = (
        causal_lm() if "token" in head else explainer_with_head("bert", "question-answering")
    )
    pair = "context" if "answer" in head else None
    source = tmp_path / "texts.parquet"
    frame = pd.DataFrame({"text": TEXTS[:3], "context": TEXTS[1:4], "gold": ["x", "y", None]})
    frame.to_parquet(source)
    explainer.corpus(source, tmp_path / "out", pair=pair, label="gold")
    rows = read_shards(tmp_path / "out")
    found = summary(tmp_path / "out", min_count=1)
    assert found.labels is not None
    assert {x.label: x.predicted for x in found.labels if x.predicted} == Counter(
        row["prediction"] for row in rows
    )
    assert (found.compared, found.differing) == (2, 2)
    assert_words(found, rows, 1, 20)
    assert [d.pair for d in found.differences] == [rows[d.row]["pair"] for d in found.differences]
    HTMLReader(found.to_html())


def test_too_many_targets_are_put_together(tmp_path: Path) -> None:
    many = tally.LABELS + 500
    records = [record(n, {"a": float(n), "b": 1.0}, prediction=f"t{n}") for n in range(many)]
    model = CLASSIFIER | {"task": "text-generation", "problem": "token", "labels": None}
    found = summary(run_of(tmp_path / "out", records, model))
    assert found.labels is None
    (part,) = found.words
    assert (part.target, part.records) == (None, many)
    assert [(w.word, w.count) for w in part.words] == [("a", many)]
    assert part.words[0].mean == pytest.approx(np.mean(range(many)))
    for shown in (str(found), found.to_html()):
        assert "too many different predictions" in " ".join(shown.split())


def test_many_labels_are_cut_and_said_to_be(tmp_path: Path) -> None:
    names = [f"label {n}" for n in range(30)]
    records = [record(n, prediction=names[n]) for n in range(30)]
    found = summary(run_of(tmp_path / "out", records, CLASSIFIER | {"labels": names}))
    assert len(found.to_dict()["words"]) == 30
    assert "The 12 labels of 30 with most records." in str(found)
    assert "The 12 labels of 30 with most records." in found.to_html()


def test_an_unfinished_run(explainer: Explainer, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "reviews.txt", TEXTS)
    explainer.corpus(source, tmp_path / "out")
    mark_unfinished(tmp_path / "out")
    found = summary(tmp_path / "out")
    assert not found.finished
    assert found.rows == len(read_shards(tmp_path / "out"))
    for shown in (str(found), found.to_html(), found._repr_html_()):
        assert "This run is not finished" in shown
    assert lost_when_untrusted(found._repr_html_()) == set()
    for path in (tmp_path / "out").glob("*.parquet"):
        path.unlink()
    found = summary(tmp_path / "out")
    assert (found.rows, found.words, found.shards) == (0, (), 0)
    HTMLReader(found.to_html())


def test_an_empty_run(explainer: Explainer, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "reviews.txt", [])
    explainer.corpus(source, tmp_path / "out")
    found = summary(tmp_path / "out")
    assert (found.rows, found.explained, found.words, found.differences) == (0, 0, (), ())
    assert "0, of which 0 were explained" in str(found)
    HTMLReader(found.to_html())
    empty = summary(run_of(tmp_path / "none", [], REGRESSION))
    assert empty.values == ()
    HTMLReader(empty.to_html())


def test_nothing_but_errors(explainer: Explainer, tmp_path: Path) -> None:
    explainer.corpus(write_lines(tmp_path / "reviews.txt", ["", " "]), tmp_path / "out")
    found = summary(tmp_path / "out")
    assert (found.rows, found.explained, found.errors) == (2, 0, {"blank": 2})
    assert found.words == ()
    assert "2 (2 blank)" in str(found)
    HTMLReader(found.to_html())


def test_what_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").touch()
    for folder in (tmp_path, tmp_path / "none", tmp_path / "a.parquet"):
        with pytest.raises(InputError, match=r"holds no run of normxlogit corpus"):
            summary(folder)
    folder = run_of(tmp_path / "out", [record(0)])
    for options in ({"top": -1}, {"min_count": 0}, {"top": True}):
        with pytest.raises(OptionError, match="must be a whole number from"):
            summary(folder, **options)
    path = folder / shards.file_name(0)
    whole = path.read_bytes()
    path.unlink()
    with pytest.raises(InputError, match="lost 1 of its shards"):
        summary(folder)
    path.write_bytes(b"PAR1")
    with pytest.raises(InputError, match="is not a whole shard"):
        summary(folder)
    start = pq.read_metadata(_written(path, whole)).row_group(0).column(0).data_page_offset
    path.write_bytes(whole[:start] + b"\xff" * 40 + whole[start + 40 :])
    with pytest.raises(InputError, match=r"shard-00000\.parquet is damaged"):
        summary(folder)
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match=r"manifest\.json is not of"):
        summary(folder)


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_the_extra_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"normxlogit\[corpus\]"):
        summary(tmp_path)


def hostile_run(folder: Path) -> Path:
    words = {HOSTILE: 1.0, "[red]x[/red]": -2.0, "\x1b[2Jesc": 0.5}
    model = CLASSIFIER | {"name": HOSTILE, "labels": [HOSTILE, "[bold]B"]}
    row = {"prediction": HOSTILE, "label": "[bold]B", "id": HOSTILE, "file": HOSTILE}
    records = [record(n, words, **row, text=HOSTILE, pair=HOSTILE) for n in range(5)]
    return run_of(folder, records, model, broken={HOSTILE: HOSTILE})


def test_what_texts_say_is_text(tmp_path: Path) -> None:
    found = summary(hostile_run(tmp_path / "out"))
    html = found.to_html()
    page = HTMLReader(html)
    assert HOSTILE in page.text("th")
    assert HOSTILE in page.text("mark")
    assert not {tag for tag, _ in page.elements} & {"img", "link", "a"}
    assert page.text("script").strip() == asset("sortable.js").strip()
    assert "<b>" not in html
    assert "\x1b" not in html
    assert "http" not in html.replace("http-equiv", "")
    shown = str(found)
    assert "\x1b" not in shown
    assert "[red]x[/red]" in shown
    assert "[bold]B" in shown


def test_where_no_word_is_listed_it_says_why_and_what_to_do(tmp_path: Path) -> None:
    records = [record(n, {f"w{n}": 1.0}) for n in range(4)]
    found = summary(run_of(tmp_path / "rare", records))
    for shown in (str(found), HTMLReader(found.to_html()).text()):
        shown = " ".join(shown.split())
        assert "4 records; no word occurs 5 times or more. For rarer words: " in shown
        assert "normxlogit summary --min-count 2." in shown
        assert "interval" not in shown
    alike = summary(run_of(tmp_path / "alike", [record(n) for n in range(6)]))
    assert "of 1 word that occurs 5 times or more, none stands out." in str(alike)
    once = summary(tmp_path / "rare", min_count=1)
    assert "More texts may show some." in " ".join(str(once).split())
    assert "--min-count" not in str(once)


def test_the_numbers_beside_words_are_said(tmp_path: Path) -> None:
    words = {"brilliant": -9.0, "dull": 4.0}
    unlike = [record(0, words, label="NEGATIVE")]
    found = str(summary(run_of(tmp_path / "signs", unlike)))
    assert "Scores for POSITIVE, the largest by size; below zero against it:" in found
    assert "brilliant −9.00" in found
    above = [record(0, {"brilliant": 9.0}, label="NEGATIVE")]
    assert "Scores for POSITIVE, the largest by size:\n" in str(
        summary(run_of(tmp_path / "above", above))
    )


@pytest.mark.parametrize(("lowest", "plus"), [(0.0, ""), (-0.5, "+")])
def test_a_plus_tells_from_a_minus_only(
    lowest: float, plus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores that never are below zero, such as attention, have no sign."""
    monkeypatch.setattr(tally, "BATCH", 3)
    records = [record(0, {"a": lowest})]  # in the first batch of three
    records += [record(n, {"good": 2.0, "the": 0.1}, label="NEGATIVE") for n in range(1, 7)]
    found = summary(run_of(tmp_path / "run", records))
    assert found.signed == bool(plus)
    (line,) = re.findall(r"^good .*", str(found), re.MULTILINE)
    assert re.findall(r"[+−]?\d\.\d\d", line)[1] == f"{plus}2.00"
    assert f"good {plus}2.00" in str(found)
    assert ("+" in str(found)) == bool(plus)
    page = HTMLReader(found.to_html())
    assert any(attributes.get("title") == f"{plus}2.00" for _, attributes in page.elements)
    assert ("+" in page.text("td", "th")) == bool(plus)


def test_the_page_has_what_was_found(tmp_path: Path) -> None:
    records = [record(n, {"good": 2.0, "the": -0.5}, label="POSITIVE") for n in range(6)]
    records += [record(6 + n, {"bad": 1.0, "the": 0.5}, prediction="NEGATIVE") for n in range(5)]
    last = {"label": "NEGATIVE", "prediction_value": 0.9, "text": "not  good, is it"}
    records.append(record(11, {"not": -4.0, "good": 2.0, "it": 0.0}, **last))
    page = HTMLReader(summary(run_of(tmp_path / "out", records)).to_html())
    in_table = ("th", "td", "small", "span")
    cells = [data.strip() for tag, data in page.texts if tag in in_table and data.strip()]
    start, end = cells.index("word"), cells.index("score above zero")
    # With no spread among the scores of a word its lead is that over the mean of all words.
    assert cells[start:end] == [
        *("word", "lead", "mean", "count", "lead", "good", "+1.53", "+2.00", "7 of 7"),
        *("word", "lead", "mean", "count", "lead", "bad", "+0.25", "+1.00", "5 of 5"),
    ]
    assert cells[:start] == [
        *("label", "rows predicted", "rows labelled", "predicted", "labelled"),
        *("POSITIVE", "7", "58.3%", "6", "85.7%", "NEGATIVE", "5", "41.7%", "1", "14.3%"),
    ]
    text = " ".join(page.text().split())
    assert "Prediction and label differ on 1 of 7 rows (14.3%)." in text
    assert "POSITIVE 90.0%, label NEGATIVE row 11" in text
    assert "not  good, is it" in page.text()
    texts = [data for tag, data in page.texts if tag == "mark"][-3:]
    marks = [attributes for tag, attributes in page.elements if tag == "mark"][-3:]
    assert list(zip(texts, (mark["title"] for mark in marks), strict=True)) == [
        ("not", "−4.00"),
        ("good", "+2.00"),
        ("it", "+0.00"),
    ]
    assert [mark.get("class") for mark in marks] == ["nx-against", None, None]
    assert [mark["style"] for mark in marks] == ["--share:1.00", "--share:0.50", "--share:0.00"]


RUNNER = CliRunner()


def test_the_command(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "out", [record(n, label="NEGATIVE") for n in range(6)])
    found = summary(folder, top=2, min_count=3)
    given = ["summary", str(folder), "--top", "2", "--min-count", "3"]
    shown = RUNNER.invoke(cli.app, given)
    assert shown.exit_code == 0
    lines = [line.rstrip() for line in shown.stdout.splitlines() if line.strip()]
    assert lines[:2] == [line for line in str(found).splitlines() if line][:2]
    assert "POSITIVE 75.0%, label NEGATIVE" in shown.stdout
    as_json = RUNNER.invoke(cli.app, [*given, "--format", "json"])
    assert json.loads(as_json.stdout) == json.loads(json.dumps(found.to_dict()))
    assert json.loads(as_json.stdout)["schema"] == "normxlogit/summary/1"
    for form, whole in (("html", found.to_html()), ("text", f"{found}\n")):
        path = tmp_path / f"summary.{form}"
        done = RUNNER.invoke(cli.app, [*given, "--format", form, "--output", str(path)])
        assert (done.exit_code, done.stdout) == (0, "")
        assert path.read_text("utf-8") == whole


def test_the_command_says_what_is_wrong_in_a_line(tmp_path: Path) -> None:
    done = RUNNER.invoke(cli.app, ["summary", str(tmp_path)])
    assert done.exit_code == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "holds no run of normxlogit corpus" in done.stderr


def test_words_are_marked_where_they_stand(explainer: Explainer, tmp_path: Path) -> None:
    """Also where a text was cut off before the words that begin the second one."""
    texts = ["The plot. " + "good " * 600 + "plot twice", "the the\tplot  'the'"]
    pairs = list(zip(texts, ["plot twice", "the plot"], strict=True))
    results = [explainer.explain(pair, long="truncate") for pair in pairs]
    told = [a.prediction.top.label for a in results]
    others = ["NEGATIVE" if label == "POSITIVE" else "POSITIVE" for label in told]
    source = tmp_path / "pairs.parquet"
    frame = pd.DataFrame(pairs, columns=["text", "other"]).assign(label=others)
    frame.to_parquet(source)
    explainer.corpus(source, tmp_path / "out", pair="other", label="label", long="truncate")
    rows = read_shards(tmp_path / "out")
    found = summary(tmp_path / "out")
    assert sorted(d.row for d in found.differences) == [0, 1]
    for d in found.differences:
        row = rows[d.row]
        assert d.text is not None
        assert d.pair is not None
        marked = [
            (text[start:end], score)
            for text, marks in zip((d.text, d.pair), d.marks, strict=True)
            for start, end, score in marks
        ]
        assert marked == list(zip(row["words"], row["word_scores"], strict=True))
        assert [d.pair[start:end] for start, end, _ in d.marks[1]] == d.pair.split()
        assert (d.marks[0][-1][1] < len(d.text) - 100) == (d.row == 0)
