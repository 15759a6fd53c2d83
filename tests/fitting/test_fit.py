"""A fit is repeatable, resumes wherever it was stopped, and says in one line what is wrong."""

import copy
import errno
import os
import re
import signal
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from normxlogit import Explainer, InputError, ModelError, OptionError, UnsupportedHeadError
from normxlogit.data import files
from normxlogit.data.rows import Columns
from normxlogit.evaluation.perturb.predictions import PredictionCache
from normxlogit.fitting import held_out, model_passes, outcomes, run, training
from normxlogit.fitting.options import FitOptions
from normxlogit.fitting.outcomes import OutcomeFolder
from normxlogit.fitting.run import fit
from normxlogit.methods.attribution_head import AttributionHead
from tests.helpers.heads import bag_explainer, fit_tiny, reviews
from tests.helpers.models import (
    classifier_explainer,
    explainer_with_head,
    image_classifier,
    token_classifier,
)
from tests.helpers.state import model_state

pytestmark = pytest.mark.filterwarnings("ignore:Do not use it")  # of so few texts

TEXTS = reviews(40)
OPTIONS: dict[str, Any] = {"texts": 40, "masks": 4, "width": 8}


@pytest.fixture(scope="module")
def bert() -> Explainer:
    return classifier_explainer()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five parts in 40 texts, and little training."""
    make_small(monkeypatch)


def make_small(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(outcomes, "AT_A_TIME", 8)
    patch.setattr(training, "EPOCHS", 2)
    patch.setattr(run, "in_bfloat16", lambda _: None)  # on any machine


@pytest.fixture(scope="module")
def whole(bert: Explainer, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a fit that was not interrupted."""
    path = tmp_path_factory.mktemp("whole") / "a.head"
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        bert.fit(TEXTS, path, **OPTIONS)
    assert [entry.name for entry in path.parent.iterdir()] == ["a.head"]
    return path.read_bytes()


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    text = str(error.value)
    assert text
    assert "\n" not in text
    assert text.endswith(".")
    return text


def test_the_same_seed_gives_the_same_file(bert: Explainer, whole: bytes, tmp_path: Path) -> None:
    torch.manual_seed(5)  # the state of others is neither read nor changed
    before = torch.get_rng_state()
    bert.fit(iter(TEXTS), tmp_path / "b.head", **OPTIONS)
    assert torch.equal(torch.get_rng_state(), before)
    assert (tmp_path / "b.head").read_bytes() == whole
    bert.fit(TEXTS, tmp_path / "c.head", **OPTIONS, seed=1)
    assert (tmp_path / "c.head").read_bytes() != whole
    # Also with an explainer that has a head already, and after loading.
    head = AttributionHead.load(tmp_path / "b.head")
    bert.with_head(head).fit(TEXTS, tmp_path / "d.head", **OPTIONS)
    head.save(tmp_path / "e.head")
    assert (tmp_path / "d.head").read_bytes() == (tmp_path / "e.head").read_bytes() == whole


def test_the_model_is_not_changed(bert: Explainer) -> None:
    before = model_state(bert.model)
    tokenizer: Any = bert.tokenizer
    vocabulary = tokenizer.backend_tokenizer.to_str()
    with torch.no_grad():
        fit_tiny(bert).explain(TEXTS)
    assert model_state(bert.model) == before
    assert tokenizer.backend_tokenizer.to_str() == vocabulary
    assert all(parameter.grad is None for parameter in bert.model.parameters())


@pytest.mark.parametrize("done", [0, 2, 5])
def test_an_interrupted_fit_goes_on(
    bert: Explainer, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    """Interrupted after so many of five parts; the last time while the head is written."""
    path, write = tmp_path / "a.head", files.write_whole
    parts = 0

    def interrupted(place: Path, content: Any) -> None:
        nonlocal parts
        if parts == done and place.suffix == ".npy":
            raise KeyboardInterrupt
        parts += place.suffix == ".npy"
        write(place, content)

    with monkeypatch.context() as patch:
        patch.setattr(outcomes, "write_whole", interrupted)
        if done == 5:
            patch.setattr(AttributionHead, "save", lambda *_: _raise(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            bert.fit(TEXTS, path, **OPTIONS)
    assert not path.exists()
    folder = tmp_path / "a.head.fit"
    assert folder.exists() == (done > 0)  # a fit that has nothing to keep leaves nothing behind
    asked, predict = [], PredictionCache.predict

    def counting(self: Any, requests: Any) -> Any:
        asked.append(len(requests))
        return predict(self, requests)

    monkeypatch.setattr(PredictionCache, "predict", counting)
    bert.fit(TEXTS, path, **OPTIONS)
    # Two parts of eight texts are run to see how long it takes, and then those that are missing.
    assert asked.count(8) == 2 + 5 - done
    assert path.read_bytes() == whole
    assert not folder.exists()


def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize("kept", [3, 6])
def test_a_fit_interrupted_while_it_cleans_up(
    bert: Explainer, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    """Whatever is left of its folder, the next fit is none the worse."""
    path, unlink, count = tmp_path / "a.head", Path.unlink, 0

    def interrupted(self: Path, missing_ok: bool = False) -> None:
        nonlocal count
        if self.parent.suffix == ".fit" and not self.name.startswith((".fit", ".out")):
            count += 1
            if count == kept:
                raise KeyboardInterrupt
        unlink(self, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bert.fit(TEXTS, path, **OPTIONS)
    assert path.read_bytes() == whole
    bert.fit(TEXTS, path, **OPTIONS)
    assert path.read_bytes() == whole
    assert not (tmp_path / "a.head.fit").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_killed_fit_goes_on(bert: Explainer, whole: bytes, tmp_path: Path) -> None:
    path, write = tmp_path / "a.head", OutcomeFolder.write
    child = os.fork()
    if not child:

        def killed(self: OutcomeFolder, number: int, outputs: Any) -> None:
            write(self, number, outputs)
            if number == 2:
                os.kill(os.getpid(), signal.SIGKILL)

        OutcomeFolder.write = killed  # type: ignore[method-assign]
        try:
            bert.fit(TEXTS, path, **OPTIONS)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert len(list((tmp_path / "a.head.fit").glob("outcomes-*.npy"))) == 3
    bert.fit(TEXTS, path, **OPTIONS)
    assert path.read_bytes() == whole


@pytest.fixture
def begun(bert: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fit that was stopped after two parts."""
    write = OutcomeFolder.write

    def interrupted(self: OutcomeFolder, number: int, outputs: Any) -> None:
        if number == 2:
            raise KeyboardInterrupt
        write(self, number, outputs)

    with monkeypatch.context() as patch:
        patch.setattr(OutcomeFolder, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bert.fit(TEXTS, tmp_path / "a.head", **OPTIONS)
    return tmp_path / "a.head"


@pytest.mark.parametrize("change", [{"seed": 1}, {"masks": 6}, {"width": 9}, {"layers": [1]}])
def test_other_settings_are_refused(bert: Explainer, begun: Path, change: dict[str, Any]) -> None:
    def files_in_folder() -> list[tuple[str, bytes]]:
        parts = begun.with_suffix(".head.fit").glob("[!.]*")
        return sorted((part.name, part.read_bytes()) for part in parts)

    before = files_in_folder()
    with pytest.raises(InputError, match=rf"{next(iter(change))} was .* and is") as error:
        bert.fit(TEXTS, begun, **{**OPTIONS, **change})
    one_line(error)
    assert files_in_folder() == before


def test_other_texts_and_models_are_refused(begun: Path) -> None:
    with pytest.raises(InputError, match=r"data\.sha256 was") as error:
        classifier_explainer().fit(reviews(40, seed=1), begun, **OPTIONS)
    one_line(error)
    with pytest.raises(InputError, match=r"model\.") as error:
        classifier_explainer(num_labels=2).fit(TEXTS, begun, **OPTIONS)
    one_line(error)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _of_others(path: Path) -> None:
    np.save(path, np.zeros((3, 3), np.float32))


def _of_objects(path: Path) -> None:
    np.save(path, np.array([{}, {}], object), allow_pickle=True)


def _archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=np.zeros(3))


def _scalar(path: Path) -> None:
    np.save(path, np.float32(3))


def _not_finite(path: Path) -> None:
    outputs = np.load(path)
    outputs[0] = np.nan
    np.save(path, outputs)


def test_a_damaged_part_is_named(bert: Explainer, whole: bytes, begun: Path) -> None:
    part = begun.with_suffix(".head.fit") / "outcomes-000001.npy"
    content = part.read_bytes()
    for damage in (_cut, _emptied, _of_others, _of_objects, _archive, _scalar, _not_finite):
        part.write_bytes(content)
        damage(part)
        with pytest.raises(InputError, match=r"1\.npy .*Delete it to run it again") as error:
            bert.fit(TEXTS, begun, **OPTIONS)
        one_line(error)
    part.unlink()
    bert.fit(TEXTS, begun, **OPTIONS)
    assert begun.read_bytes() == whole


class _Full:
    """A file on a disk without room."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, _: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@pytest.mark.parametrize("suffix", [".json", ".npy", ".head"])
def test_a_full_disk(
    bert: Explainer, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    class FullFile(files.AtomicFile):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            if path.suffix == suffix:
                self.file = _Full(self.file)  # type: ignore[assignment]

    path = tmp_path / "a.head"
    with monkeypatch.context() as patch:
        patch.setattr(files, "AtomicFile", FullFile)
        with pytest.raises(InputError, match=r"cannot write .* No space left") as error:
            bert.fit(TEXTS, path, **OPTIONS)
    one_line(error)
    assert not path.exists()
    # What was run is kept; what was not leaves nothing behind.
    folder = tmp_path / "a.head.fit"
    assert len(list(folder.glob("*.npy"))) == (5 if suffix == ".head" else 0)
    assert folder.exists() == (suffix == ".head")
    bert.fit(TEXTS, path, **OPTIONS)
    assert path.read_bytes() == whole


def test_no_room_for_states(bert: Explainer, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    def full(self: Path, *arguments: Any, **options: Any) -> Any:
        if self.name == "states":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return opened(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(InputError, match=r"No space left on device. Make room there") as error:
        bert.fit(TEXTS, **OPTIONS)
    one_line(error)


def test_no_place_for_states(bert: Explainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "mkdtemp", lambda *_, **__: _raise(FileNotFoundError(2, "none")))
    with pytest.raises(InputError, match="cannot keep hidden states"):
        bert.fit(TEXTS, **OPTIONS)


def test_no_place_for_the_file(bert: Explainer, tmp_path: Path) -> None:
    """It is said before the model runs."""
    bert = bert.with_head(None)
    for path in (tmp_path, tmp_path / "none" / "a.head"):
        with pytest.raises(InputError, match="cannot write") as error:
            bert.fit(TEXTS, path, **OPTIONS)
        one_line(error)
    (tmp_path / "a.head.fit").mkdir()
    (tmp_path / "a.head.fit" / "thesis.txt").touch()
    with pytest.raises(InputError, match=r"holds something else \(thesis.txt\)") as error:
        bert.fit(TEXTS, tmp_path / "a.head", **OPTIONS)
    one_line(error)


def test_too_few_texts(bert: Explainer) -> None:
    for texts, count in ((TEXTS[:39], 39), ([], 0), (["good"] * 50, 0)):
        with pytest.raises(InputError, match=f"needs 40 texts or more.*has {count} among") as error:
            bert.fit(texts)
        one_line(error)
    with pytest.raises(InputError, match="The first that cannot be used: row 0: "):
        bert.fit(["", *TEXTS[:39]])


def test_rows_that_cannot_be_used_are_left_out_and_counted(bert: Explainer) -> None:
    rows = [*TEXTS, "", "  ", "good", "a great movie " * 60, None, 3]
    head = bert.fit(rows, masks=4, width=8)
    assert head.record.data["rows"] == 46
    assert head.record.data["texts"] == 40
    left_out = head.record.data["left_out"]
    assert left_out["too_long"] == 1
    assert sum(left_out.values()) == 6


def test_texts_are_drawn_from_all_rows(bert: Explainer) -> None:
    rows = reviews(200, least=3)
    head = bert.fit(rows, **OPTIONS)
    assert head.record.data["texts"] == 40
    assert head.record.data["rows"] == 200


def said_by(
    explainer: Explainer, texts: list[str], output: Path | None = None
) -> tuple[AttributionHead, list[str]]:
    said: list[str] = []
    head = fit(
        explainer,
        texts,
        Columns("text"),
        FitOptions(**OPTIONS),
        output=output,
        subset=None,
        split=None,
        progress=False,
        say=said.append,
    )
    return head, said


@pytest.mark.parametrize("bias", [100.0, 0.0])
def test_one_class_only_is_said(bias: float) -> None:
    explainer = bag_explainer()
    model: Any = explainer.model
    with torch.no_grad():
        model.classifier.bias.copy_(torch.tensor([-bias, bias]))
        model.classifier.weight.mul_(10)
        outputs = [
            int(model(**explainer.tokenizer(text, return_tensors="pt")).logits.argmax())
            for text in TEXTS
        ]
    head, said = said_by(explainer, TEXTS)
    if bias:
        assert set(outputs) == {1}
        assert "the model says LABEL_1 of all 40 texts" in said[1]
        assert head.record.held_out["note"] == said[1]
    else:
        assert set(outputs) == {0, 1}
        assert "note" not in head.record.held_out
    assert all("\n" not in line for line in said)


@pytest.fixture
def caches(monkeypatch: pytest.MonkeyPatch) -> list[PredictionCache]:
    """Those that fits make: the last two are that of a fit and that of its held-out texts."""
    made: list[PredictionCache] = []
    begin = PredictionCache.__init__

    def noted(cache: PredictionCache, *arguments: Any) -> None:
        begin(cache, *arguments)
        made.append(cache)

    monkeypatch.setattr(PredictionCache, "__init__", noted)
    return made


def test_texts_run_to_see_how_long_it_takes_are_not_run_again(
    bert: Explainer, monkeypatch: pytest.MonkeyPatch, caches: list[PredictionCache]
) -> None:
    forwards = []
    for probed in (1, 8):
        monkeypatch.setattr(run, "_PROBED", probed)
        bert.fit(TEXTS, **OPTIONS)
        forwards.append(caches[-2].forwards)
    assert forwards[0] == forwards[1] > 0


def test_the_passes_announced_are_those_made(
    caches: list[PredictionCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_PROBED", 8)  # in one part
    monkeypatch.setattr(held_out, "EXPLAINING", 0)
    texts = ["good movie"] * 30 + ["a great movie with poor plot"] * 10
    _, said = said_by(classifier_explainer(), texts)
    line = re.fullmatch(
        r"(\d+) forward passes over 40 texts, and up to (\d+) to try the head on 4 of them: less "
        r"than a minute on this machine\.",
        said[0],
    )
    assert line is not None
    passes, trials = map(int, line.groups())
    assert passes == 40 + 30 * (2 + 1) + 10 * (4 + 1)
    # A set that is drawn twice for a text is run once.
    assert 0.9 * (passes - 40) < caches[-2].forwards <= passes - 40
    assert trials / 4 < caches[-1].forwards <= trials


def test_a_fit_that_goes_on_announces_what_is_left(bert: Explainer, begun: Path) -> None:
    every, left = (int(said_by(bert, TEXTS, output)[1][0].split()[0]) for output in (None, begun))
    assert 40 < left < every


def test_a_head_that_is_not_to_be_used_is_a_warning(
    bert: Explainer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for use, verdict in ((False, "Do not use it: it is bad."), (True, "Use it: it is good.")):
        monkeypatch.setattr(run, "verdict", lambda _, use=use, verdict=verdict: (use, verdict))
        for progress in (False, True):
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                head = bert.fit(TEXTS, **OPTIONS, progress=progress)
            assert head.record.held_out["verdict"] == verdict
            assert [str(w.message) for w in warned] == ([] if use or progress else [verdict])
            assert [w.filename for w in warned] == [__file__] * len(warned)
            assert (verdict in capsys.readouterr().err) == progress


def test_texts_that_are_all_the_same(bert: Explainer, tmp_path: Path) -> None:
    bert.fit(["a great movie"] * 40, tmp_path / "a.head", **OPTIONS)
    head = AttributionHead.load(tmp_path / "a.head")
    (distance,) = bert.with_head(head).explain("it is a mess").notes.values()
    assert 1 < distance[0] < np.inf


def test_a_model_that_hiding_does_not_touch() -> None:
    explainer = bag_explainer()
    model: Any = explainer.model
    with torch.no_grad():
        model.classifier.weight.zero_()
    with pytest.raises(ModelError, match=r"hiding words .* changes nothing") as error:
        explainer.fit(TEXTS, **OPTIONS)
    one_line(error)


@pytest.mark.parametrize(
    "options",
    [
        {"texts": 39},
        {"texts": "many"},
        {"masks": 3},
        {"masks": 0},
        {"width": 0},
        {"seed": -1},
        {"layers": []},
        {"layers": 3},
        {"layers": "all"},
        {"layers": [9]},
        {"layers": [-1]},
        {"progress": "no"},
    ],
)
def test_wrong_options(bert: Explainer, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError) as error:
        bert.fit(TEXTS, **options)
    one_line(error)


def test_models_of_other_tasks_are_refused_by_name() -> None:
    for explainer, name in (
        (token_classifier(), "BertForTokenClassification"),
        (explainer_with_head("bert", "multiple-choice"), "BertForMultipleChoice"),
        (explainer_with_head("bert", "masked-lm"), "BertForMaskedLM"),
        (image_classifier()[0], "ViTForImageClassification"),
    ):
        with pytest.raises(ModelError, match=name) as error:
            explainer.fit(TEXTS, **OPTIONS)
        one_line(error)
    for model_type, name in (("bart", "Bart"), ("t5", "T5")):
        explainer = classifier_explainer(model_type)
        with pytest.raises(UnsupportedHeadError, match=f"{name}ForSequenceClassification") as error:
            explainer.fit(TEXTS, **OPTIONS)
        one_line(error)


def test_rounded_outcomes_are_taken_only_if_they_are_much_the_same(
    bert: Explainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the machine computes faster in bfloat16."""
    monkeypatch.setattr(model_passes, "_has_fast_bfloat16", lambda _: True)
    rounded = model_passes.in_bfloat16(bert.model)
    assert rounded is not None
    assert (rounded.dtype, bert.model.dtype) == (torch.bfloat16, torch.float32)
    generator = np.random.default_rng(0)
    noise, values = generator.normal(size=(2, 100, 3))
    values *= [1, 2, 0.1]
    assert model_passes.is_harmless(values, values + 0.001 * noise)
    assert not model_passes.is_harmless(values, values + 0.01 * noise)
    exact = head_logits(bert, monkeypatch, lambda _: None)
    assert head_logits(bert, monkeypatch, model_passes.in_bfloat16) == pytest.approx(
        exact, abs=0.05
    )
    # A model that differs much in bfloat16 runs as it is.
    broken: Any = copy.deepcopy(bert.model).bfloat16()
    with torch.no_grad():
        broken.classifier.bias.add_(torch.tensor([9.0, 0.0, 0.0]))
    assert head_logits(bert, monkeypatch, lambda _: broken) == exact


def head_logits(explainer: Explainer, patch: pytest.MonkeyPatch, rounded: Any) -> list[float]:
    """What a model says of texts without words, as a fit measures it."""
    patch.setattr(run, "in_bfloat16", rounded)
    logits: list[float] = explainer.fit(TEXTS, **OPTIONS).empty.logits.flatten().tolist()
    return logits
