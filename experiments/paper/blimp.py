"""Experiment 2 of Abbasi et al. 2025: do scores point to the word that settles the number?

    python -m experiments.paper.blimp --model minilm-blimp --data ../shared/data/blimp \
        --output blimp.json
    python -m experiments.paper.blimp --model FOLDER_OF_A_GGUF --causal --data ... --output ...

The test half of each BLiMP paradigm (`halves`, seed 0). Of a masked language model the logit of the
good word at the mask is explained; of a causal one that of the good word after the words before it,
in the paradigms whose cue comes first. At every layer each way of reading the model gives scores,
of which come the dot product with the evidence (of their softmax if they are made from logits, else
of their shares of the sum) and the average precision.

Figures are of two sets of tokens: "text", the words of the sentence; and "all", with special tokens
as in the paper. The masked token is in neither. To texts of causal models their token for the
beginning is added where the tokenizer adds none, so that a sentence's first word is not the sink
that all others look at. Random scores are 20 draws a text; `first` and `nearest` rank tokens by
where they stand, from the beginning and from the target. Intervals are of resamples of the
cases, the same for all readings; differences are those to `normxlogit` at the same layer.

Cases whose good or bad word is no single token are left out, and of causal models those with all of
the words before the target in the evidence, and counted.
"""

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import normxlogit as nxl
from normxlogit.evaluate.alignment import average_precision, dot_product, rationale_mask
from normxlogit.evaluate.blimp import RULES, Case, halves, read_cases, target_ids
from normxlogit.evaluate.statistics import Bootstrap
from normxlogit.files import write_whole
from normxlogit.words import Span

Floats = NDArray[np.float64]

SETS = ("text", "all")
METRICS = ("dot_product", "average_precision")
MADE_OF_LOGITS = (
    "normxlogit",
    "logat",
    "logat_foil",
    "normxlogit_contrast",
    "logat_contrast",
)
"""The readings whose scores have a sign: of the good word, of the bad one, of their difference."""
CONTEXT_MIXING = {"masked": ("globenc", "alti", "value_zeroing"), "causal": ("value_zeroing",)}
DRAWS, SEED = 20, 0


@dataclass(frozen=True)
class Item:
    """A case as a model takes it.

    Attributes:
        case: what it is made of.
        text: with the mask, or up to the target.
        begin: the first character of the text that is of the sentence.
        cues: where the evidence is in the text.
        good, bad: the ids of the words.
    """

    case: Case
    text: str
    begin: int
    cues: tuple[Span, ...]
    good: int
    bad: int


def items_of(cases: Sequence[Case], explainer: nxl.Explainer, causal: bool) -> list[Item]:
    """The cases that the model can be asked about."""
    tokenizer = explainer.tokenizer
    start = tokenizer.bos_token if causal else ""
    if start and tokenizer("x")["input_ids"][0] == tokenizer.bos_token_id:
        start = ""
    items = []
    for case in cases:
        ids = target_ids(case, tokenizer)
        if ids is None or (causal and not case.cue_comes_first):
            continue
        posed = case if causal else case.with_target(str(tokenizer.mask_token))
        text = case.prefix if causal else posed.text
        cues = tuple((a + len(start), b + len(start)) for a, b in posed.cues)
        items.append(Item(case, start + text, len(start), cues, *ids))
    return items


def explained(
    explainer: nxl.Explainer, items: Sequence[Item], **options: Any
) -> list[nxl.Attribution]:
    """An attribution of every layer for each text."""
    found = explainer.explain([item.text for item in items], layer="all", batch_size=64, **options)
    for result in found:
        if isinstance(result, nxl.Failure):
            raise result.error
    return found


@dataclass(frozen=True)
class Read:
    """What a model's layers say of an item.

    Attributes:
        scores: of each reading, [layers, tokens].
        evidence: bool [tokens].
        sets: which tokens are in each of `SETS`, bool [tokens].
        preferred: whether the good word has the higher logit.
    """

    scores: dict[str, Floats]
    evidence: NDArray[np.bool_]
    sets: dict[str, NDArray[np.bool_]]
    preferred: bool


def read(explainer: nxl.Explainer, items: Sequence[Item], causal: bool) -> Iterator[Read]:
    """All readings of items that have the same good and the same bad word."""
    good, bad = (
        explained(explainer, items, target=number) for number in (items[0].good, items[0].bad)
    )
    others = {
        name: explained(explainer, items, target=items[0].good, method=name, **options)
        for name, options in [
            ("norm", {}),
            *(
                (name, {"rollout": False})
                for name in CONTEXT_MIXING["causal" if causal else "masked"]
            ),
        ]
    }
    for n, item in enumerate(items):
        one, other = good[n], bad[n]
        assert one.logits is not None
        assert other.logits is not None
        assert one.norms is not None
        contrast = one.logits - other.logits
        scores = {
            "normxlogit": one.scores,
            "logat": one.logits,
            "logat_foil": other.logits,
            "normxlogit_contrast": one.norms * contrast,
            "logat_contrast": contrast,
            **{name: found[n].scores for name, found in others.items()},
        }
        assert one.target.position is not None
        place = one.target.position + causal
        numbers, shape = np.arange(len(one)), one.scores.shape
        scores["first"] = np.broadcast_to(len(one) - numbers, shape)
        scores["nearest"] = np.broadcast_to(len(one) + 1 - abs(numbers - place), shape)
        kept = numbers != place
        of_text = kept & (one.segments >= 0) & (one.offsets[:, 0] >= item.begin)
        yield Read(
            {name: found.astype(np.float64) for name, found in scores.items()},
            rationale_mask(one, [item.cues]),
            {"text": of_text, "all": kept},
            one.target.logit > other.target.logit,
        )


def figures(found: Read, kept: NDArray[np.bool_], seed: Sequence[int]) -> dict[str, Floats]:
    """Each reading's figures of some of the tokens, [metrics, layers]."""
    evidence = found.evidence[kept]
    made = {
        name: np.transpose([_figures(layer[kept], evidence, name) for layer in scores])
        for name, scores in found.scores.items()
    }
    draws = np.random.default_rng(seed).random((DRAWS, len(evidence)))
    chance = np.mean([_figures(draw, evidence, "random") for draw in draws], axis=0)
    return {**made, "random": np.broadcast_to(chance[:, None], made["normxlogit"].shape)}


def _figures(scores: Floats, evidence: NDArray[np.bool_], reading: str) -> tuple[float, float]:
    """As `METRICS` has them."""
    normalise = "softmax" if reading in MADE_OF_LOGITS else "sum"
    return dot_product(scores, evidence, normalise), average_precision(scores, evidence)


def told(values: Floats, bootstrap: Bootstrap) -> dict[str, list[float]]:
    """Means and the ends of their intervals, of [layers, cases]."""
    found = [bootstrap.mean(layer) for layer in values]
    return {
        "mean": [round(one.value, 4) for one in found],
        "low": [round(one.interval[0], 4) for one in found],
        "high": [round(one.interval[1], 4) for one in found],
    }


def of_set(found: Sequence[dict[str, Floats]], paradigms: Sequence[str]) -> dict[str, Any]:
    """The figures of cases and their paradigms, by metric and reading."""
    bootstrap, paradigm_of = Bootstrap(len(found), SEED), np.array(paradigms)
    report: dict[str, Any] = {}
    for number, metric in enumerate(METRICS):
        values = {name: np.stack([one[name][number] for one in found], 1) for name in found[0]}
        report[metric] = {name: told(own, bootstrap) for name, own in values.items()}
        report[f"{metric}_less_normxlogit"] = {
            name: told(own - values["normxlogit"], bootstrap)
            for name, own in values.items()
            if name != "normxlogit"
        }
        report[f"{metric}_by_paradigm"] = {
            paradigm: {
                name: own[:, paradigm_of == paradigm].mean(1).round(4).tolist()
                for name, own in values.items()
            }
            for paradigm in dict.fromkeys(paradigms)
        }
    return report


def aligned(explainer: nxl.Explainer, items: Sequence[Item], causal: bool) -> dict[str, Any]:
    """All figures of a model."""
    groups = defaultdict[tuple[int, int], list[int]](list)
    for n, item in enumerate(items):
        groups[item.good, item.bad].append(n)
    reads: dict[int, Read] = {}
    for numbers in groups.values():
        reads.update(
            zip(numbers, read(explainer, [items[n] for n in numbers], causal), strict=True)
        )
        print(f"{len(reads)} of {len(items)}", flush=True)
    report: dict[str, Any] = {"accuracy": np.mean([found.preferred for found in reads.values()])}
    for name in SETS:
        own = [n for n in range(len(items)) if not reads[n].evidence[reads[n].sets[name]].all()]
        found = [figures(reads[n], reads[n].sets[name], [SEED, n]) for n in own]
        report[name] = {
            "cases": len(own),
            "all_evidence": len(items) - len(own),
            "tokens": np.mean([reads[n].sets[name].sum() for n in own]),
            **of_set(found, [items[n].case.paradigm for n in own]),
        }
    return report


def tables(report: Mapping[str, Any]) -> str:
    """Markdown: means of each reading at no more than twelve layers, and intervals at the last."""
    lines = []
    for name, metric in [(name, metric) for name in SETS for metric in METRICS]:
        own = report[name][metric]
        depth = len(own["normxlogit"]["mean"])
        layers = range(depth - 1, -1, -((depth + 11) // 12))[::-1]
        lines += [
            "",
            f"{metric}, tokens: {name} ({report[name]['tokens']:.1f} a text), "
            f"{report[name]['cases']} cases",
            "",
            f"| reading | {' | '.join(str(layer + 1) for layer in layers)} | 95 % at the last |",
            "|---|" + "---|" * (len(layers) + 1),
        ]
        lines += [
            f"| {reading} | {' | '.join(format(found['mean'][layer], '.2f') for layer in layers)} "
            f"| {found['low'][-1]:.2f} to {found['high'][-1]:.2f} |"
            for reading, found in own.items()
        ]
    return "\n".join(lines)


def main() -> None:
    """Explain, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="its folder")
    parser.add_argument("--data", type=Path, required=True, help="BLiMP's folder")
    parser.add_argument("--causal", action="store_true", help="it is a causal language model")
    parser.add_argument("--cases", type=int, help="at most so many of each paradigm")
    parser.add_argument("--output", type=Path, required=True, help="the JSON file to write")
    options = parser.parse_args()
    files = [path.name for path in options.model.glob("*.gguf")]
    explainer: nxl.Explainer = nxl.Explainer.from_pretrained(
        str(options.model),
        dtype="float32",
        device="cpu",
        **({"gguf_file": files[0]} if files else {}),
    )
    cases = []
    for name in RULES:
        _, test = halves(read_cases(options.data / f"{name}.jsonl"))
        cases += test[: options.cases]
    items = items_of(cases, explainer, options.causal)
    report = {
        "model": options.model.name,
        "test_cases": dict(Counter(case.paradigm for case in cases)),
        "asked": dict(Counter(item.case.paradigm for item in items)),
        **aligned(explainer, items, options.causal),
    }
    write_whole(options.output, json.dumps(report) + "\n")
    print(tables(report))


if __name__ == "__main__":
    main()
