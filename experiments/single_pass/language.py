"""Methods held against NormXLogit on a causal language model.

    python -m experiments.single_pass.language --model FOLDER_OF_A_GGUF --data DATA \
        --output FILE.md [--split test] [--cases 60] [--prompts 30] [--beside normxlogit] \
        [--variants NAME ...]

DATA holds blimp/ and sst2/. Two questions: do scores of a BLiMP prefix point to the word that
settles the number of the next one (average precision over the words of the sentence, halves of
the paradigms whose cue comes first, as `normxlogit.evaluation.benchmark` has them); and what does
the log-probability of a generated answer lose without the words of the prompt that have the highest
scores (`normxlogit.evaluation.answer_drops`; the prompts are sentences of
SST-2, eight tokens are generated).
"""

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import normxlogit as nxl
from experiments.single_pass.settings import VARIANTS
from experiments.single_pass.variants import of_model
from normxlogit.data.files import write_whole
from normxlogit.evaluation import answer_drops
from normxlogit.evaluation.benchmark.cases import RULES, halves, read_cases
from normxlogit.evaluation.benchmark.readings import Item, make_items
from normxlogit.evaluation.metrics.bootstrap import Bootstrap
from normxlogit.evaluation.metrics.plausibility import average_precision, rationale_mask

OURS = "normxlogit"
NAMES = (
    "logat",
    "layers, last 4",
    "late_lrp",
    "gradient",
    "gradient, at value",
    "gradient_x_input",
)
SHORTEST, LONGEST, NEW_TOKENS = 6, 30, 8
"""Words of a prompt, and tokens of its answer."""


def precision(explainer: nxl.Explainer, item: Item, settings: Mapping[str, Any]) -> float:
    """Return the average precision of a text's scores; nan where all its tokens are evidence."""
    result = explainer.explain(item.text, target=item.good, **settings)
    kept = (result.segments >= 0) & (result.offsets[:, 0] >= item.begin)
    evidence = rationale_mask(result, [item.cues])[kept]
    if evidence.all():
        return float("nan")
    return average_precision(result.scores[kept].astype(np.float64), evidence)


def table(figures: Mapping[str, Sequence[float]], title: str, beside: str) -> str:
    """Return Markdown with a row for each method, and its paired distance from `beside`."""
    values = {name: np.array(method_figures) for name, method_figures in figures.items()}
    is_defined = ~np.isnan(values[beside])
    bootstrap = Bootstrap(int(is_defined.sum()), 0)
    whose = "NormXLogit's" if beside == OURS else f"`{beside}`'s"
    lines = [f"| method | {title} ({is_defined.sum()}) | less {whose} |", "|---|---|---|"]
    for name, theirs in sorted(values.items(), key=lambda named: -np.nanmean(named[1])):
        gap = bootstrap.mean(theirs[is_defined] - values[beside][is_defined])
        low, high = gap.interval
        distance = "" if name == beside else f"{gap.value:+.3f} ({low:+.3f} to {high:+.3f})"
        lines.append(f"| {name} | {theirs[is_defined].mean():.3f} | {distance} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Explain, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="its folder")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="the file to write")
    parser.add_argument("--split", choices=("dev", "test"), default="test")
    parser.add_argument("--cases", type=int, default=60, help="of each paradigm")
    parser.add_argument("--prompts", type=int, default=30, help="how many are answered")
    parser.add_argument("--beside", default=OURS, help="the method that others are held against")
    parser.add_argument("--variants", nargs="*", default=NAMES, help="beside NormXLogit")
    options = parser.parse_args()
    (file,) = options.model.glob("*.gguf")
    explainer: nxl.Explainer = nxl.Explainer.from_pretrained(
        str(options.model), gguf_file=file.name, dtype="float32", device="cpu"
    )
    of_model(explainer.model)
    methods: dict[str, dict[str, Any]] = {
        OURS: {},
        **{
            name: {"method": settings["method"], **settings["options"]}
            for name, _, settings in VARIANTS
            if name in options.variants
        },
        "random": {"method": "random"},
    }
    cases = []
    for name in RULES:
        dev, test = halves(read_cases(options.data / "blimp", name)[0])
        cases += (dev if options.split == "dev" else test)[: options.cases]
    precisions: dict[str, list[float]] = {name: [] for name in methods}
    for item in make_items(cases, explainer):
        for name, settings in methods.items():
            precisions[name].append(precision(explainer, item, settings))
    tables = [table(precisions, "average precision ↑, cases", options.beside)]
    lines = (options.data / "sst2" / f"{options.split}.tsv").read_text("utf-8").splitlines()
    texts = [line.split("\t")[0] for line in lines]
    prompts = [text for text in texts if SHORTEST <= len(text.split()) <= LONGEST]
    lost = defaultdict[str, dict[str, list[float]]](lambda: {name: [] for name in methods})
    for prompt in prompts[: options.prompts]:
        for name, settings in methods.items():
            answer = explainer.generate(
                prompt, do_sample=False, max_new_tokens=NEW_TOKENS, **settings
            )
            drops = answer_drops(explainer, answer)
            lost["comprehensiveness ↑, nats, prompts"][name].append(drops.comprehensiveness)
            lost["sufficiency ↓, nats, prompts"][name].append(drops.sufficiency)
    tables += [table(figures, title, options.beside) for title, figures in lost.items()]
    write_whole(options.output, "\n".join(tables))
    print("\n".join(tables))


if __name__ == "__main__":
    main()
