"""π-Soft-NC and π-Soft-NS: soft perturbation of word embeddings, with an equal budget per method.

Zhao & Aletras 2023, Soft-NS and Soft-NC: dimensions of a word's embedding are kept at random, more
of them for more important words (sufficiency), or fewer (comprehensiveness). Huang & Chan 2026,
π-Soft-NS and π-Soft-NC: a method with larger scores on average keeps more and so looks better;
hence all methods must keep the same expected share. Only their abstract was available, which does
not say how scores become probabilities of that mean, so `keep_probabilities` is this package's own.

For a text x, let x0 have zeros in place of all word embeddings. With p = `keep_probabilities` for a
share k, each dimension j of the embedding of each token of word i gets B_ij = 1 with probability
p_i, else 0. Let d(x') be the loss in f(x), and c(r) = min(max(r, 0), 1). The metrics are the means
over all shares of

    NS_k = 1 - c(d(B x) / d(x0))           which keeps k,
    NC_k = c(d((1 - B) x) / d(x0))         which keeps 1 - k.

The first equals (Suff(x, x') - Suff(x, 0)) / (1 - Suff(x, 0)) in Zhao & Aletras, where Suff(x, x')
is 1 - max(0, d(x')), the second Comp(x, x') / (1 - Suff(x, 0)). Tokens of no word stay whole.
"""

from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from normxlogit.errors import ModelError, UnsupportedHeadError
from normxlogit.evaluation.metrics.faithfulness import Floats, loss
from normxlogit.evaluation.perturb.samples import Sample
from normxlogit.model.inference import without_autocast
from normxlogit.model.numerics import agree
from normxlogit.model.readouts import Objective, logit
from normxlogit.model.reruns import Reruns, differentiable
from normxlogit.model.targets import Problem

LEAST_LOSS = 1e-6
"""A text whose words all zeroed lose no more than this share of max(1, |f(x)|) is left out."""

Masks = Iterable[NDArray[np.bool_]]
"""Which dimensions of each word embedding are kept, each bool [tokens, width]."""


def keep_probabilities(scores: Floats, shares: Sequence[float]) -> Floats:
    """Turn scores into probabilities that rise with the score and whose mean is the share.

    Scores are scaled to a from 0 (lowest) to 1 (highest), and then linearly towards 0 if their mean
    is above the share k, or towards 1: p = a k / mean(a), or 1 - p = (1 - a) (1 - k) / (1 -
    mean(a)). Scaling or shifting all scores therefore changes nothing.

    Args:
        scores: of units, [units]; nan, for units without a score, counts as the lowest.
        shares: from 0 to 1.

    Returns:
        float64 [shares, units]; the share itself if all scores are equal.
    """
    share = np.array(shares, np.float64)[:, None]  # [shares, 1]
    finite = scores[~np.isnan(scores)]
    spread = np.ptp(finite) if len(finite) else 0.0
    if spread == 0:
        return share.repeat(len(scores), 1)
    importance = np.nan_to_num((scores - finite.min()) / spread)  # [units], a above
    mean = importance.mean()
    # Of the two lines only one stays within 0 and 1 for a given share.
    towards_one = 1 - (1 - importance) * (1 - share) / (1 - mean)
    probabilities: Floats = np.where(share <= mean, importance * (share / mean), towards_one)
    return probabilities


class SoftMetrics:
    """Runs a classifier on texts with parts of their word embeddings zeroed.

    Attributes:
        asked: the number of variants requested.
        forwards: the number of forward passes.
        tokens: the number of tokens in these.
    """

    def __init__(
        self, model: PreTrainedModel, problem: Problem, shares: Sequence[float], seed: int
    ) -> None:
        """Take a classifier, which is not changed, the shares, and the seed of all draws."""
        self._model, self._problem = model, problem
        self._shares, self._seed = shares, seed
        self.asked = self.forwards = self.tokens = 0

    def measure(self, sample: Sample, rankings: Sequence[Floats]) -> list[tuple[float, float]]:
        """Compute π-Soft-NC and π-Soft-NS of each ranking; nan where x0 loses nothing.

        Every ranking is compared with the same uniform numbers, so their differences are paired.

        Args:
            sample: the text.
            rankings: scores of its units, each [units].

        Raises:
            ModelError: the model does not look up word embeddings one by one, or its output is not
                finite.
        """
        reruns = self._reruns(sample)
        # Put the unchanged embeddings in place first: a model that also uses the ids in another
        # way would give other values, and nothing below would mean what it says.
        try:
            with without_autocast(), differentiable(False):
                embeddings = reruns.embeddings
                replayed = reruns.values_of_embeddings(embeddings, reruns.all_rows)
                expected = reruns.original
        except UnsupportedHeadError as error:
            raise self._unfit("does not look them up one by one") from error
        if not agree(replayed, expected):
            outcome = f"gives {replayed.tolist()} instead of {expected.tolist()}"
            raise self._unfit(f"with its own embeddings put in place {outcome}")
        uniform = self._uniform(sample, embeddings.shape[-1])
        probabilities = [keep_probabilities(scores, self._shares) for scores in rankings]
        values = self._values(reruns, embeddings, _masks(sample, probabilities, uniform))
        self._count(sample, len(values))
        lost = loss(sample, values)  # [1 + rankings * shares * 2], in the order of `_masks`
        most = lost[0]
        if most <= LEAST_LOSS * max(1.0, abs(float(sample.output[sample.target]))):
            return [(float("nan"), float("nan"))] * len(rankings)
        ratios = (lost[1:] / most).clip(0, 1).reshape(len(rankings), len(self._shares), 2)
        # Each ranking's [shares, 2]: first for B x, which is sufficiency, then for (1 - B) x.
        return [(float(pair[:, 1].mean()), float(1 - pair[:, 0].mean())) for pair in ratios]

    def _reruns(self, sample: Sample) -> Reruns:
        """Set up forward passes of a text that read the probability of its predicted class."""
        inputs = {
            name: torch.tensor([values], device=self._model.device)
            for name, values in sample.inputs.items()
        }
        ids = inputs["input_ids"]

        def readout(outputs: Tensor, targets: Tensor) -> Tensor:
            return logit(self._problem.probabilities(outputs), targets)

        objective = Objective(readout, torch.full_like(ids[:, :1], sample.target))
        mask = torch.ones_like(ids, dtype=torch.bool)
        return Reruns(self._model, inputs, ids, mask, [("", slice(None))], objective, None)

    def _uniform(self, sample: Sample, width: int) -> NDArray[np.float32]:
        """Draw the uniform numbers of a text, float32 [shares, tokens, width]."""
        # A text's numbers depend on its row only, not on which texts come before it, so that a
        # resumed run gives the same scores.
        seeds = np.random.SeedSequence([self._seed, sample.number], spawn_key=(0,))
        shape = (len(self._shares), len(sample.units), width)
        return np.random.default_rng(seeds).random(shape, np.float32)

    def _values(self, reruns: Reruns, embeddings: Tensor, masks: Masks) -> Floats:
        """Compute f of the text with each mask on its word embeddings, float64 [masks]."""
        batches, remaining = list[Tensor](), iter(masks)
        with without_autocast(), differentiable(False):
            while batch := list(islice(remaining, reruns.at_once)):
                kept = torch.from_numpy(np.stack(batch)).to(embeddings.device)
                rows = torch.zeros(len(batch), dtype=torch.int64, device=embeddings.device)
                # kept [batch, tokens, width], embeddings [1, tokens, width]
                masked = torch.where(kept, embeddings, torch.zeros_like(embeddings))
                batches.append(reruns.values_of_embeddings(masked, rows)[:, 0])
        values = torch.cat(batches)
        if not values.isfinite().all():
            raise ModelError(
                f"{type(self._model).__name__} gave logits that are not finite numbers with parts "
                "of its word embeddings zero. Load it with dtype=float32, or leave soft out of "
                "metrics."
            )
        return values.double().cpu().numpy()

    def _count(self, sample: Sample, variants: int) -> None:
        """Count a text's variants, and the three passes of the text itself."""
        self.asked += variants
        self.forwards += variants + 3
        self.tokens += (variants + 3) * len(sample.units)

    def _unfit(self, why: str) -> ModelError:
        return ModelError(
            f"metric 'soft' puts zeros in word embeddings, and {type(self._model).__name__} {why}. "
            "Leave soft out of metrics."
        )


def _masks(sample: Sample, probabilities: Sequence[Floats], uniform: NDArray[np.float32]) -> Masks:
    """Yield the mask of x0, then for each ranking and share those of B x and (1 - B) x.

    Masks are made one at a time: all of a long text's would fill the memory.
    """
    always = np.broadcast_to((sample.units < 0)[:, None], uniform.shape[1:])
    yield always
    for of_ranking in probabilities:  # [shares, units]
        for of_share, numbers in zip(of_ranking, uniform, strict=True):
            # Tokens of no unit, numbered -1, pick the 0 appended here: never in `top`, and so
            # always in its complement. [units + 1] -> [tokens, 1], against [tokens, width]
            top = numbers < np.append(of_share, 0)[sample.units][:, None]
            yield always | top
            yield ~top
