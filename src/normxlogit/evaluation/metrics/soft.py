"""π-Soft-NC and π-Soft-NS: rankings by which as much of a text is hidden as by any other.

Zhao & Aletras 2023, Soft-NS and Soft-NC: numbers of a word's embedding are kept at random, the more
of them the more important the word is (sufficiency), or the fewer (comprehensiveness). Huang & Chan
2026, π-Soft-NS and π-Soft-NC: a method whose scores are larger on average keeps more, and so looks
better; so all methods are to keep the same expected share. How scores become chances of that mean
is not said in their abstract, which is all that was at hand, so `chances` is this package's own.

Of a text x, let x0 have zeros in place of all its words' embeddings. With p = `chances` for a share
k, every number j of the embedding of each token of word i gets B_ij = 1 with chance p_i, else 0.
Then with d(x') what is lost of f(x), and c(r) = min(max(r, 0), 1), means over the shares are taken
of

    NS_k = 1 - c(d(B x) / d(x0))           which keeps k,
    NC_k = c(d((1 - B) x) / d(x0))         which keeps 1 - k.

The first is (Suff(x, x') - Suff(x, 0)) / (1 - Suff(x, 0)) of Zhao & Aletras, where Suff(x, x') is
1 - max(0, d(x')), the second Comp(x, x') / (1 - Suff(x, 0)). Tokens of no word stay whole.
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
from normxlogit.model.numerics import agree
from normxlogit.model.readouts import logit
from normxlogit.model.reruns import Objective, Reruns, differentiable
from normxlogit.model.targets import Problem

ROOM = 1e-6
"""Where zeros in place of all words lose no more than so much of f(x), or of 1 if that is more,
there is nothing to tell.
"""

Masks = Iterable[NDArray[np.bool_]]
"""Which numbers of a text's word embeddings are kept, each bool [tokens, width]."""


def chances(scores: Floats, shares: Sequence[float]) -> Floats:
    """The chance of each unit, the larger the higher its score, whose mean is the share.

    Scores are put between 0, the lowest, and 1, the highest, and these on a straight line towards 0
    if their mean is above the share, or else towards 1: p = a k / mean(a), or 1 - p = (1 - a)
    (1 - k) / (1 - mean(a)). So neither a factor of all scores nor a constant changes anything.

    Args:
        scores: of units, nan, which counts as the lowest, for those without one, [units].
        shares: from 0 to 1.

    Returns:
        float64 [shares, units]; of scores that are all alike the share itself.
    """
    given = np.array(shares, np.float64)[:, None]
    known = scores[~np.isnan(scores)]
    spread = np.ptp(known) if len(known) else 0.0
    if spread == 0:
        return given.repeat(len(scores), 1)
    importance = np.nan_to_num((scores - known.min()) / spread)
    mean = importance.mean()
    towards_one = 1 - (1 - importance) * (1 - given) / (1 - mean)
    found: Floats = np.where(given <= mean, importance * (given / mean), towards_one)
    return found


class SoftMetrics:
    """Asks a classifier about texts of whose word embeddings some numbers are zero.

    Attributes:
        asked: how many variants it was asked about.
        forwards: how often it was run.
        tokens: how many tokens that were.
    """

    def __init__(
        self, model: PreTrainedModel, problem: Problem, shares: Sequence[float], seed: int
    ) -> None:
        """Take a classifier, which is not changed, the shares, and what draws depend on."""
        self._model, self._problem = model, problem
        self._shares, self._seed = shares, seed
        self.asked = self.forwards = self.tokens = 0

    def of(self, sample: Sample, rankings: Sequence[Floats]) -> list[tuple[float, float]]:
        """π-Soft-NC and π-Soft-NS of each ranking; nan where x0 loses nothing.

        Every ranking is held against the same uniform numbers, so their differences are paired.

        Args:
            sample: the text.
            rankings: scores of its units, each [units].

        Raises:
            ModelError: the model does not look up word embeddings one by one, or says what is no
                number.
        """
        reruns = self._passes(sample)
        try:
            with differentiable(False):
                embeddings = reruns.embeddings
                same = reruns.values_of_embeddings(embeddings, reruns.all_rows)
                whole = reruns.own
        except UnsupportedHeadError as error:
            raise self._unfit("does not look them up one by one") from error
        if not agree(same, whole):
            said = f"says {same.tolist()} and not {whole.tolist()}"
            raise self._unfit(f"with its own put in their place, {said}")
        uniform = self._uniform(sample, embeddings.shape[-1])
        drawn = [chances(scores, self._shares) for scores in rankings]
        values = self._values(reruns, embeddings, _masks(sample, drawn, uniform))
        self._count(sample, len(values))
        lost = loss(sample, values)
        room = lost[0]
        if room <= ROOM * max(1.0, abs(float(sample.output[sample.said]))):
            return [(float("nan"), float("nan"))] * len(rankings)
        ratios = (lost[1:] / room).clip(0, 1).reshape(len(rankings), len(self._shares), 2)
        return [(float(own[:, 1].mean()), float(1 - own[:, 0].mean())) for own in ratios]

    def _passes(self, sample: Sample) -> Reruns:
        """The model on a text, explaining what it says of it."""
        inputs = {
            name: torch.tensor([values], device=self._model.device)
            for name, values in sample.inputs.items()
        }
        ids = inputs["input_ids"]

        def readout(outputs: Tensor, targets: Tensor) -> Tensor:
            return logit(self._problem.probabilities(outputs), targets)

        objective = Objective(readout, torch.full_like(ids[:, :1], sample.said))
        mask = torch.ones_like(ids, dtype=torch.bool)
        return Reruns(self._model, inputs, ids, mask, [("", slice(None))], objective, None)

    def _uniform(self, sample: Sample, width: int) -> NDArray[np.float32]:
        """The numbers of a text that chances are held against, [shares, tokens, width]."""
        seeds = np.random.SeedSequence([self._seed, sample.number], spawn_key=(0,))
        shape = (len(self._shares), len(sample.units), width)
        return np.random.default_rng(seeds).random(shape, np.float32)

    def _values(self, reruns: Reruns, embeddings: Tensor, masks: Masks) -> Floats:
        """f of the text with each mask put on its word embeddings, float64 [masks]."""
        found, going = [], iter(masks)
        with differentiable(False):
            while some := list(islice(going, reruns.at_once)):
                kept = torch.from_numpy(np.stack(some)).to(embeddings.device)
                rows = torch.zeros(len(some), dtype=torch.int64, device=embeddings.device)
                given = torch.where(kept, embeddings, torch.zeros_like(embeddings))
                found.append(reruns.values_of_embeddings(given, rows)[:, 0])
        values = torch.cat(found)
        if not values.isfinite().all():
            raise ModelError(
                f"{type(self._model).__name__} gave logits that are not finite numbers with parts "
                "of its word embeddings zero. Load it with dtype=float32, or leave soft out of "
                "metrics."
            )
        return values.double().cpu().numpy()

    def _count(self, sample: Sample, variants: int) -> None:
        """A text's variants, and that it was run three times itself."""
        self.asked += variants
        self.forwards += variants + 3
        self.tokens += (variants + 3) * len(sample.units)

    def _unfit(self, why: str) -> ModelError:
        return ModelError(
            f"metric 'soft' puts zeros in word embeddings, and {type(self._model).__name__} {why}. "
            "Leave soft out of metrics."
        )


def _masks(sample: Sample, drawn: Sequence[Floats], uniform: NDArray[np.float32]) -> Masks:
    """x0, and then for each ranking and share what is kept for sufficiency, and what for
    comprehensiveness.
    """
    always = np.broadcast_to((sample.units < 0)[:, None], uniform.shape[1:])
    yield always
    for own in drawn:
        for by_unit, numbers in zip(own, uniform, strict=True):
            top = numbers < np.append(by_unit, 0)[sample.units][:, None]
            yield always | top
            yield ~top  # tokens of no unit have chance 0 here
