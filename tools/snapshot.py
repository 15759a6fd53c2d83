"""Write down what the package answers, to compare with what another version of it answers.

    python -m tools.snapshot FOLDER                    write every answer
    python -m tools.snapshot FOLDER --against BEFORE   write them, then list what differs

Numbers must be equal to 1e-6 of the largest beside them. Words of pages and messages are shown as
a diff to be read: they may change on purpose, numbers may not. The public interface alone is used,
so that the code inside may be moved about.
"""

import argparse
import difflib
import html
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
import transformers
from typer.testing import CliRunner

import normxlogit as nxl
from normxlogit.cli import app
from normxlogit.methods import METHODS
from tests.helpers.builders import classifier, tokenizer
from tests.helpers.zoo import tiny_model

hf: Any = transformers
SHARED = Path(os.environ.get("NORMXLOGIT_SHARED", "../shared"))
REVIEWS = [
    "A great movie with poor performers.",
    "The soup was cold, but I loved the dessert & the <b>waiters</b>.",
    "Unbelievably good!",
    "",
    "An hour of my life that I will not get back; the plot, if there is one, is a mess.",
]
PAIRS = [
    ("A man is playing a guitar.", "Someone makes music."),
    ("Two dogs run on the beach.", "No animal is outside."),
]
_TIMINGS = ("cost.json", "cost.svg", ".lock")
"""Files of times and processes, which differ from run to run; reports hold some times too."""

_POLICY = re.compile("<meta http-equiv[^>]*>")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


def main() -> int:
    """Write a snapshot, and compare it if there is one to compare with."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--against", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name, value in _answers(arguments.folder):
        is_text = isinstance(value, str)
        path = arguments.folder / (name if is_text else f"{name}.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value if is_text else json.dumps(value, indent=1), "utf-8")
        print(name, flush=True)
    return 0 if arguments.against is None else _compare(arguments.against, arguments.folder)


def _answers(folder: Path) -> Iterator[tuple[str, Any]]:
    yield from _methods("demo", nxl.Explainer.from_pretrained("demo"), REVIEWS)
    for name, items in (("sst2", REVIEWS), ("sick", PAIRS), ("stsb", PAIRS)):
        model = str(SHARED / "models" / f"minilm-{name}")
        yield from _methods(name, nxl.Explainer.from_pretrained(model, dtype="float32"), items)
    yield from _heads()
    yield from _commands(folder)


def _methods(name: str, explainer: nxl.Explainer, items: list[Any]) -> Iterator[tuple[str, Any]]:
    """Every method, plainly and with all that can be asked of it."""
    texts = [text for item in items for text in (item if isinstance(item, tuple) else (item,))]
    counts = explainer.token_counts([text for text in texts if text])
    for method in METHODS.values():
        options = {"counts": counts} if method.name == "frequency" else {}
        yield f"{name}/{method.name}", _explained(explainer, items, method.name, **options)
        if method.has_layers:
            every = _explained(explainer, items, method.name, target="all", layer="all")
            yield f"{name}/{method.name}-all", every
    first = explainer.explain(items[0])
    for form in ("words", "sentences"):
        yield f"{name}/{form}", _plain(getattr(first, form)())
    yield f"{name}/page.html", first.words().to_html()
    yield f"{name}/cell.html", first._repr_html_()
    yield f"{name}/terminal.txt", str(first.words())
    every = explainer.explain(items[0], target="all", layer="all")
    yield f"{name}/all.html", every.to_html()
    yield f"{name}/all.txt", str(every)


def _explained(explainer: nxl.Explainer, items: list[Any], method: str, **options: Any) -> Any:
    try:
        results = explainer.explain(items, method=method, **options)
    except nxl.NormXLogitError as error:
        return str(error)
    return [_plain(result) for result in results]


def _heads() -> Iterator[tuple[str, Any]]:
    """Tags, answers, choices, masks, generated text, images and sounds, on tiny models."""
    words = tokenizer()
    text = "A great movie with poor performers. The plot is not bad at all."
    asked: dict[str, tuple[Any, dict[str, Any]]] = {
        "token-classification": (text, {}),
        "question-answering": (("What is not bad?", text), {}),
        "multiple-choice": ((text, ["It is great.", "It is bad."]), {}),
        "masked-lm": ("A great <mask> with poor performers.", {}),
    }
    masked = tokenizer(mask_token="<mask>")
    for mapping, (item, options) in asked.items():
        model = tiny_model("bert", mapping=mapping, vocab_size=len(words))
        yield from _shown(mapping, nxl.Explainer(model, masked).explain(item, **options))
    bpe = tokenizer("bpe", add_eos=False)
    llama = nxl.Explainer(tiny_model("llama", mapping="causal-lm", vocab_size=len(bpe)), bpe)
    yield from _shown("next-token", llama.explain(text))
    yield from _shown("continuation", llama.explain(text, target=" A mess."))
    for method in ("normxlogit", "gradient_x_input", "occlusion"):
        results = llama.generate(
            [text, "Two dogs"], method=method, max_new_tokens=6, do_sample=False
        )
        for number, result in enumerate(results):
            yield from _shown(f"generate-{method}-{number}", result)
    beams = llama.generate(
        text, max_new_tokens=5, num_beams=3, num_return_sequences=2, do_sample=False
    )
    assert isinstance(beams, list)
    yield "heads/beams", [_plain(result) for result in beams]
    steps = llama.generate_stream(text, max_new_tokens=4, do_sample=False)
    yield "heads/stream", [_plain(step) for step in steps]
    t5 = tiny_model("t5", mapping="seq2seq-lm", vocab_size=len(words))
    yield from _shown("seq2seq", nxl.Explainer(t5, words).explain("Two dogs", target="a mess"))
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3)).astype(np.uint8)
    vit = tiny_model("vit", mapping="image-classification", image_size=64, patch_size=8)
    processor = hf.ViTImageProcessor(size={"height": 64, "width": 64})
    yield from _shown("image", nxl.Explainer(vit, processor).explain(pixels))
    wave = np.sin(np.arange(16000) * np.linspace(0.01, 0.3, 16000)).astype(np.float32)
    wav2vec = tiny_model("wav2vec2", mapping="audio-classification")
    extractor = hf.Wav2Vec2FeatureExtractor()
    yield from _shown("audio", nxl.Explainer(wav2vec, extractor).explain((wave, 16000)))
    labels = nxl.Explainer(classifier(words, problem_type="multi_label_classification"), words)
    yield from _shown("several-labels", labels.explain(text))


def _shown(name: str, result: Any) -> Iterator[tuple[str, Any]]:
    yield f"heads/{name}", _plain(result)
    yield f"heads/{name}.html", result.to_html()
    yield f"heads/{name}-cell.html", result._repr_html_()
    yield f"heads/{name}.txt", str(result)


def _commands(folder: Path) -> Iterator[tuple[str, Any]]:
    """The commands: what they print, and the folders of a corpus and an evaluation."""
    data = folder / "reviews.jsonl"
    with (SHARED / "data/sst2/dev.tsv").open(encoding="utf-8") as lines:
        rows = [line.rstrip("\n").split("\t") for line in lines][:60]
    labels = {"0": "NEGATIVE", "1": "POSITIVE"}
    records = [{"review": text, "label": labels[label]} for text, label in rows]
    records.append({"review": "", "label": "POSITIVE"})
    data.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    explained, report = folder / "explained", folder / "evaluation"
    commands = {
        "explain": ["explain", REVIEWS[0]],
        "explain-json": ["explain", "--format", "json", "--target", "all", REVIEWS[0], REVIEWS[1]],
        "explain-wrong": ["explain", "--target", "NEUTRAL", REVIEWS[0]],
        "methods": ["methods"],
        "methods-one": ["methods", "integrated_gradients"],
        "corpus": ["corpus", str(data), "--text", "review", "--label", "label"],
        "summary": ["summary", str(explained)],
        "evaluate": ["evaluate", "--data", str(data), "--text", "review", "--label", "label"],
    }
    commands["corpus"] += ["--output", str(explained)]
    commands["evaluate"] += ["--output", str(report), "--limit", "20", "--seed", "1"]
    commands["evaluate"] += ["--methods", "normxlogit,late_lrp,random,occlusion,position"]
    commands["evaluate"] += ["--metrics", "curves,naopc,loo_tau,sanity,soft"]
    for name, command in commands.items():
        result = CliRunner().invoke(app, command, env={"COLUMNS": "100"})
        said = f"{result.output}\nexit code {result.exit_code}\n"
        yield f"commands/{name}.txt", said.replace(str(folder), "FOLDER")
    for written in (explained, report):
        for path in sorted(written.rglob("*.parquet")):
            yield f"{written.name}/{path.stem}", pq.read_table(path).to_pylist()
    yield "commands/summary.html", _summary_page(explained)


def _summary_page(folder: Path) -> str:
    """The page of a corpus."""
    from normxlogit.corpus import summary

    return str(summary(folder).to_html())


def _plain(result: Any) -> Any:
    return str(result.error) if isinstance(result, nxl.Failure) else result.to_dict()


def _compare(before: Path, after: Path) -> int:
    """Print what differs. Returns 1 if a number does."""
    names = [
        {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
        for folder in (before, after)
    ]
    wrong = sorted(names[0] ^ names[1])
    for name in wrong:
        print("only in one:", name)
    for name in sorted(names[0] & names[1]):
        if Path(name).suffix in (".parquet", ".png") or Path(name).name in _TIMINGS:
            continue
        ours, theirs = (
            (folder / name).read_text("utf-8").replace(str(folder), "FOLDER")
            for folder in (before, after)
        )
        if ours == theirs:
            continue
        if name.endswith(".json") and "/" in name:
            same = _is_same(json.loads(ours), json.loads(theirs))
        else:
            same = _numbers(ours) == _numbers(theirs)
        if not same:
            wrong.append(name)
        print("" if same else "NUMBERS DIFFER: ", name)
        lines = difflib.unified_diff(ours.splitlines(), theirs.splitlines(), "", "", "", "", 0)
        print("\n".join(line[:300] for line in list(lines)[:40]))
    print(f"{len(wrong)} files with other numbers: {', '.join(wrong)}")
    return bool(wrong)


def _numbers(text: str) -> list[str]:
    """The numbers of a text or page, but for those in entities and in the page's policy."""
    return _NUMBER.findall(html.unescape(_POLICY.sub("", text)))


def _is_same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(_is_same(ours[k], theirs[k]) for k in ours)
    if isinstance(ours, list) and isinstance(theirs, list):
        if len(ours) != len(theirs):
            return False
        if all(isinstance(v, int | float | None) for v in (*ours, *theirs)):
            before, after = (np.array(values, float) for values in (ours, theirs))
            scale = float(np.nanmax(np.abs(before), initial=0))
            return np.allclose(before, after, rtol=0, atol=1e-6 * scale, equal_nan=True)
        return all(map(_is_same, ours, theirs))
    if isinstance(ours, float) and isinstance(theirs, float):
        return abs(ours - theirs) <= 1e-6 * max(abs(ours), abs(theirs))
    return bool(ours == theirs) or isinstance(ours, str)


if __name__ == "__main__":
    sys.exit(main())
