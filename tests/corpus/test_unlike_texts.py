"""Texts unlike those that an attribution head was fitted on: kept in shards, and counted."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from normxlogit import Explainer
from normxlogit.corpus import progress, shards, summary
from tests.helpers.corpora import mark_unfinished, read_manifest, read_shards, write_lines
from tests.helpers.heads import fit_tiny, head_of, reviews
from tests.helpers.pages import HTMLReader

UNLIKE = "distance from the texts it was fitted on"
TEXTS = reviews(25, seed=1)


@pytest.fixture(scope="module")
def judging(explainer: Explainer) -> Explainer:
    """An explainer whose head takes half of `TEXTS` to be unlike those that it was fitted on."""
    fitted = fit_tiny(explainer)
    head = head_of(fitted)
    middle = float(np.median([a.notes[UNLIKE][0] for a in fitted.explain(TEXTS)]))
    usual = replace(head.usual, limit=head.usual.limit * middle)
    return explainer.with_head(replace(head, usual=usual))


def distances(explainer: Explainer) -> list[float]:
    return [explainer.explain(text).notes[UNLIKE][0] for text in TEXTS]


@pytest.mark.usefixtures("small")
def test_they_are_counted_everywhere(judging: Explainer, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "reviews.txt", [*TEXTS, " "])
    done = judging.corpus(source, tmp_path / "out", target="all")
    expected = [distance > 1 for distance in distances(judging)]
    count = sum(expected)
    assert 5 < count < 20
    rows = read_shards(tmp_path / "out")
    assert [row["unlike"] for row in rows] == [flag for flag in expected for _ in range(2)] + [None]
    told = f"{count} texts are unlike those that the attribution head was fitted on"
    assert done.unlike == count
    assert told in str(done)
    assert str(judging.corpus(source, tmp_path / "out", target="all")) == str(done)
    assert read_manifest(tmp_path / "out")["counts"]["unlike"] == count
    found = summary(tmp_path / "out")
    assert (found.judged, found.unlike) == (25, count)
    said = f"{count} of 25 texts unlike those that the attribution head was fitted on"
    assert said in " ".join(str(found).split())
    assert said in " ".join(HTMLReader(found.to_html()).text("dd").split())


def test_without_a_head_nothing_is_said(explainer: Explainer, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "reviews.txt", TEXTS)
    done = explainer.corpus(source, tmp_path / "out")
    assert {row["unlike"] for row in read_shards(tmp_path / "out")} == {None}
    found = summary(tmp_path / "out")
    assert (done.unlike, found.judged, found.unlike) == (0, 0, 0)
    for shown in (str(done), str(found), found.to_html()):
        assert "unlike" not in shown.casefold()


@pytest.mark.usefixtures("small")
def test_a_run_of_an_earlier_version_goes_on(
    judging: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = write_lines(tmp_path / "reviews.txt", TEXTS), tmp_path / "out"
    schema, note = shards.schema, progress.note

    def earlier_schema(*, float16: bool) -> Any:
        current = schema(float16=float16)
        return current.remove(current.get_field_index("unlike"))

    def earlier_note(run: str, number: int, done: progress.Progress, after: Any) -> dict[str, Any]:
        written = note(run, number, done, after)
        return written | {"progress": {k: v for k, v in vars(done).items() if k != "unlike"}}

    with monkeypatch.context() as earlier:
        earlier.setattr(shards, "schema", earlier_schema)
        earlier.setattr(progress, "note", earlier_note)
        judging.corpus(source, out)
    manifest = read_manifest(out)
    del manifest["counts"]["unlike"]
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert judging.corpus(source, out).was_finished
    found = summary(out)
    assert (found.explained, found.judged, found.unlike) == (25, 0, 0)

    mark_unfinished(out)
    (out / shards.file_name(2)).unlink()
    resumed = judging.corpus(source, out)
    expected = sum(distance > 1 for distance in distances(judging)[20:])
    assert (resumed.rows, resumed.unlike) == (25, expected)
    found = summary(out)
    assert (found.explained, found.judged, found.unlike) == (25, 5, expected)
