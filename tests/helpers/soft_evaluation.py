"""A slow, plain computation of the metrics that hide parts of word embeddings."""

import copy
import itertools
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from normxlogit import Explainer
from tests.helpers.evaluation import RATIOS, PlainEvaluation

SOFT = ("pi_soft_nc", "pi_soft_ns")


def plain_chances(scores: list[float], share: float) -> list[float]:
    """The chance of each unit to be kept, with `share` as their mean.

    Scores are scaled to [0, 1] and then moved in a straight line towards 0 or 1, by bisection,
    until their mean is the share.
    """
    low, high = min(scores), max(scores)
    if low == high:
        return [share] * len(scores)
    importance = [(score - low) / (high - low) for score in scores]
    end = float(sum(importance) / len(scores) < share)
    near, far = 0.0, 1.0
    for _ in range(200):
        part = (near + far) / 2
        moved = [value + part * (end - value) for value in importance]
        is_enough = (sum(moved) / len(moved) >= share) == bool(end)
        near, far = (near, part) if is_enough else (part, far)
    return moved


class FixedEmbeddings(nn.Module):
    """An embedding layer that gives these embeddings, whatever the tokens are."""

    def __init__(self, embeddings: Tensor) -> None:
        super().__init__()
        self.embeddings = embeddings

    def forward(self, _: Tensor) -> Tensor:
        return self.embeddings


def logits_for_embeddings(
    model: PreTrainedModel, inputs: dict[str, Tensor], embeddings: Tensor
) -> Tensor:
    """The model's own output for other word embeddings."""
    rest: Any = {name: values for name, values in inputs.items() if name != "input_ids"}
    if not model.config.is_encoder_decoder:
        logits: Tensor = model(inputs_embeds=embeddings, **rest).logits[0]
        return logits
    changed: Any = copy.deepcopy(model)
    first = model.get_input_embeddings()(torch.tensor([[model.config.decoder_start_token_id]]))
    changed.model.encoder.embed_tokens = FixedEmbeddings(embeddings)
    changed.model.decoder.embed_tokens = FixedEmbeddings(torch.cat([first, embeddings[:, :-1]], 1))
    decoded: Tensor = changed(**inputs).logits[0]
    return decoded


class PlainSoftEvaluation:
    """The outputs of a model for a text with some numbers of its word embeddings zero."""

    def __init__(
        self, explainer: Explainer, item: Any, plain: PlainEvaluation, row: int, seed: int
    ) -> None:
        words: Any = explainer.tokenizer
        parts = item if isinstance(item, tuple) else (item,)
        self.model, self.plain = explainer.model, plain
        self.inputs = dict(words(*parts, return_tensors="pt"))
        with torch.no_grad():
            self.embeddings = self.model.get_input_embeddings()(self.inputs["input_ids"])
        seeds = np.random.SeedSequence([seed, row], spawn_key=(0,))
        shape = (len(RATIOS), *self.embeddings.shape[1:])
        self.uniform = np.random.default_rng(seeds).random(shape, np.float32)
        self.room = self.lost([])

    def lost(self, kept: Any) -> float:
        """How much of the prediction is lost if only these (token, number) of words are kept."""
        mask = torch.ones_like(self.embeddings)
        for tokens in self.plain.units:
            mask[0, tokens] = 0
        for token, number in kept:
            mask[0, token, number] = 1
        with torch.no_grad():
            logits = logits_for_embeddings(self.model, self.inputs, self.embeddings * mask).double()
        output = logits if len(logits) == 1 else torch.softmax(logits, 0)
        difference = float(self.plain.whole[self.plain.target] - output[self.plain.target])
        return abs(difference) if len(logits) == 1 else difference

    def figures(self, scores: list[float]) -> tuple[float, float]:
        """Both metrics as Zhao & Aletras write them."""

        def sufficiency(lost: float) -> float:
            return 1 - max(0.0, lost)

        nothing, nc, ns = sufficiency(self.room), [], []
        for share, uniform in zip(RATIOS, self.uniform, strict=True):
            kept: list[tuple[int, ...]] = []
            dropped: list[tuple[int, ...]] = []
            for tokens, chance in zip(self.plain.units, plain_chances(scores, share), strict=True):
                for place in itertools.product(tokens, range(uniform.shape[1])):
                    (kept if uniform[place] < chance else dropped).append(place)
            ns.append(max(0.0, (sufficiency(self.lost(kept)) - nothing) / (1 - nothing)))
            nc.append(min(1.0, max(0.0, self.lost(dropped)) / (1 - nothing)))
        return sum(nc) / len(nc), sum(ns) / len(ns)
