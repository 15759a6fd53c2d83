"""What fitting an attribution head costs beside the bare forward passes that it needs.

    OMP_WAIT_POLICY=passive python -m benchmarks.fit [--texts 2000] [--output docs/cost-fit.md]

The bare passes are of the same model, in the same dtype, on as many texts of the same lengths,
sorted and in batches of as many tokens. They run within the fit, each part after the fit's own, so
that a machine whose speed drifts slows both alike; their time is taken off the fit's. To explain
a held-out text counts as one pass, by late_lrp as three: a pass and a backward pass, which costs as
much as two. It needs the fine-tuned MiniLM and SST-2 in the folder that NORMXLOGIT_SHARED names.
"""

import argparse
import platform
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import transformers

import normxlogit as nxl
from benchmarks.corpus import MODEL, labelled
from normxlogit.evaluation.perturb.predictions import MAX_BATCH_TOKENS, PredictionCache
from normxlogit.fitting import held_out
from normxlogit.fitting.model_passes import StateReader

TEXTS, MASKS = 2000, 16


class BarePasses:
    """Repeats the passes of a fit without the rest.

    Attributes:
        count: how many there were.
        seconds: how long they took.
        dtype: what those of texts with words hidden, which are most, computed in.
    """

    count, seconds, dtype = 0, 0.0, ""

    @torch.inference_mode()
    def run(self, model: Any, lengths: Sequence[int]) -> None:
        """Run the model on texts of these lengths."""
        begin = time.perf_counter()
        for batch in batches(sorted(lengths)):
            # Padded as a fit's, since attention over padding is slower.
            mask = (torch.arange(batch[-1]) < torch.tensor(batch)[:, None]).long()
            ids = torch.full_like(mask, 1000)
            model(input_ids=ids, attention_mask=mask).logits.tolist()
        self.seconds += time.perf_counter() - begin
        self.count += len(lengths)


def batches(lengths: Sequence[int]) -> Iterator[Sequence[int]]:
    """The lengths in batches with as many tokens as a fit's; they ascend."""
    start = 0
    while start < len(lengths):
        end = start + 1
        while end < len(lengths) and (end + 1 - start) * lengths[end] <= MAX_BATCH_TOKENS:
            end += 1
        yield lengths[start:end]
        start = end


def measure(texts: int, masks: int) -> tuple[float, BarePasses]:
    """The seconds of a fit, and its passes without the rest."""
    bare = BarePasses()
    predict, read, explain = PredictionCache._run, StateReader._states, held_out._unit_scores

    def predict_twice(cache: Any, variants: Any) -> Any:
        outputs = predict(cache, variants)
        bare.run(cache._model, [len(inputs["input_ids"]) for inputs in variants])
        bare.dtype = str(cache._model.dtype).removeprefix("torch.")
        return outputs

    def read_twice(reader: Any, windows: Any, layers: Any) -> Any:
        states = read(reader, windows, layers)
        bare.run(reader._model, [len(window) for window in windows])
        return states

    def explain_twice(explainer: Any, samples: Any, method: str, *rest: Any) -> Any:
        scores = explain(explainer, samples, method, *rest)
        lengths = [len(sample.units) for sample in samples]
        bare.run(explainer.model, lengths * (3 if method == "late_lrp" else 1))
        return scores

    explainer = nxl.Explainer.from_pretrained(str(MODEL), dtype="float32", device="cpu")
    sentences = [text for text, _ in labelled("train")]
    with (
        patch.object(PredictionCache, "_run", predict_twice),
        patch.object(StateReader, "_states", read_twice),
        patch.object(held_out, "_unit_scores", explain_twice),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # of a head fitted to few texts
        begin = time.perf_counter()
        explainer.fit(sentences, texts=texts, masks=masks)
        seconds = time.perf_counter() - begin
    return seconds - bare.seconds, bare


def main() -> None:
    """Measure, print and, if asked, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=TEXTS)
    parser.add_argument("--masks", type=int, default=MASKS)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    seconds, bare = measure(options.texts, options.masks)
    page = f"""# What fitting a head costs

Written by `OMP_WAIT_POLICY=passive python -m benchmarks.fit --output docs/cost-fit.md` with \
normxlogit {nxl.__version__}, torch {torch.__version__}, transformers {transformers.__version__}, \
Python {platform.python_version()}, {torch.get_num_threads()} threads of \
{platform.processor() or platform.machine()}.

An [attribution head](attribution-head.md) fitted to a MiniLM on {options.texts:,} sentences of \
SST-2 with {options.masks} masks each took {seconds:.0f} seconds, \
{seconds / bare.seconds:.2f} times the {bare.seconds:.0f} seconds of its {bare.count:,} bare \
forward passes in {bare.dtype}. Those that try the head on held-out texts are among them, and so \
are those that explain these texts, by `late_lrp` as three each (its backward pass costs as much \
as two); training is not.
"""
    print(page)
    if options.output:
        options.output.write_text(page)


if __name__ == "__main__":
    main()
