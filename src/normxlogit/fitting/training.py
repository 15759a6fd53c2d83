"""Training a head: weighted least squares on the outcomes of hidden words."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from normxlogit.fitting.outcomes import Outcomes
from normxlogit.methods.attribution_head.games import game_values
from normxlogit.methods.attribution_head.network import HeadNetwork, shared_out
from normxlogit.model.inference import inference, without_autocast
from normxlogit.model.targets import Problem

EPOCHS = 5
BATCH = 32
RATE = 1e-3
DECAY = 1e-2


@dataclass(frozen=True, eq=False)
class Example:
    """A text to train on.

    Attributes:
        states: of its tokens, float16 [tokens, features].
        words: the number of each token's word, int64 [tokens]; -1 for none.
        whole: the model's output for it, float32 [outputs].
        outcomes: those with words hidden.
    """

    states: NDArray[np.float16]
    words: NDArray[np.int64]
    whole: Tensor
    outcomes: Outcomes

    @cached_property
    def shown(self) -> Tensor:
        """Which tokens are shown in each set, bool [sets, tokens]."""
        of_no_word = np.zeros((len(self.outcomes.shown), 1), bool)  # where -1 points
        of_words = np.concatenate([self.outcomes.shown, of_no_word], 1)
        return torch.from_numpy(of_words[:, self.words])


@dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
        network: the one of the epoch that predicted the texts set aside best.
        epoch: which it was, from 1.
    """

    network: HeadNetwork
    epoch: int


def train(
    examples: Sequence[Example],
    aside: Sequence[Example],
    problem: Problem,
    width: int,
    seed: int,
    show: Callable[[int], None],
) -> Trained:
    """Train a network by the objective whose minimum the Shapley values are.

    Jethani et al. 2022, FastSHAP (ICLR), equations 6 and 7: over sets s drawn by the Shapley
    kernel, the squared difference of v(s) - v(none) and the sum over the words of s of what the
    network gives them, after efficient normalisation. Every game is measured in units of its own
    spread, so that it does not matter how large a model's logits are.

    Args:
        examples: the texts to train on.
        aside: others, by which the best epoch is chosen.
        problem: what the model's outputs mean.
        width: how many hidden units the network has.
        seed: of its first weights and of the order of the texts.
        show: called with the epochs done.
    """
    generator = np.random.default_rng([seed, 2])
    with torch.random.fork_rng(devices=[]), without_autocast(), torch.enable_grad():
        torch.manual_seed(seed)
        features = examples[0].states.shape[1]
        games = game_values(examples[0].whole, examples[0].whole, problem).shape[-1]
        network = HeadNetwork(features, width, games)
        _standardise(network, examples)
        scale = _spread(examples, problem)
        optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
        best, best_loss, best_epoch = copy.deepcopy(network), float("inf"), 0
        for epoch in range(1, EPOCHS + 1):
            network.train()
            order = generator.permutation(len(examples))
            for some in np.array_split(order, max(1, len(order) // BATCH)):
                texts = [examples[n] for n in some]
                batch = Batch.of(texts, problem).in_units(scale)
                loss = batch.squares(network(states_of(texts))).mean()
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            schedule.step()
            now = mean_square(network.eval(), aside, problem, scale)
            if now < best_loss:
                best, best_loss, best_epoch = copy.deepcopy(network), now, epoch
            show(epoch)
    with inference():
        best.outer.weight.mul_(scale[:, None])
        best.outer.bias.mul_(scale)
    return Trained(best.eval().requires_grad_(False), best_epoch)


@dataclass(frozen=True, eq=False)
class Batch:
    """The games of examples side by side, padded.

    Attributes:
        in_text: which positions hold tokens, bool [rows, sequence].
        words: int64 [rows, sequence]; -1 for none and padding.
        shown: which tokens are shown in each set, bool [rows, sets, sequence].
        weights: how much each set counts, float32 [rows, sets]; 1 in all for each text, and 0 for
            sets that a text has not.
        values: the game of each set less that of none, [rows, sets, games].
        gain: that of all words, [rows, games].
    """

    in_text: Tensor
    words: Tensor
    shown: Tensor
    weights: Tensor
    values: Tensor
    gain: Tensor

    @classmethod
    def of(cls, examples: Sequence[Example], problem: Problem) -> "Batch":
        """Put examples side by side."""
        rows, longest = len(examples), max(len(e.words) for e in examples)
        sets = max(len(e.outcomes.shown) for e in examples)
        outputs = len(examples[0].whole)
        in_text = torch.zeros(rows, longest, dtype=torch.bool)
        words = torch.full((rows, longest), -1)
        shown = torch.zeros(rows, sets, longest, dtype=torch.bool)
        weights = torch.zeros(rows, sets)
        logits = torch.zeros(rows, sets, outputs)
        for row, example in enumerate(examples):
            length, count = len(example.words), len(example.outcomes.shown)
            in_text[row, :length] = True
            words[row, :length] = torch.from_numpy(example.words)
            shown[row, :count, :length] = example.shown
            weights[row, :count] = torch.from_numpy(example.outcomes.weights)
            logits[row, :count] = torch.from_numpy(example.outcomes.logits)
        whole = torch.stack([e.whole for e in examples])
        empty = torch.stack([torch.from_numpy(e.outcomes.empty) for e in examples])
        none = game_values(empty, whole, problem)  # [rows, games]
        values = game_values(logits, whole[:, None], problem) - none[:, None]
        gain = game_values(whole, whole, problem) - none
        return cls(in_text, words, shown, weights, values, gain)

    def in_units(self, scale: Tensor) -> "Batch":
        """The same with games in other units, [games]."""
        return replace(self, values=self.values / scale, gain=self.gain / scale)

    def squares(self, values: Tensor) -> Tensor:
        """The squared differences of outcomes from the sums of the shown tokens' parts.

        Args:
            values: what the network gives the tokens of one text after the other,
                [tokens, games]; their parts are these after efficient normalisation.

        Returns:
            The mean over each text's sets by their weights, [rows, games].
        """
        parts, _ = shared_out(self.padded(values), self.words, self.gain)
        return self._means((self.values - self.shown.float() @ parts).square())

    def padded(self, values: Tensor) -> Tensor:
        """Values of tokens, [tokens, games], by text: [rows, sequence, games], 0 in padding."""
        padded = values.new_zeros(*self.in_text.shape, values.shape[-1])
        padded[self.in_text] = values
        return padded

    def variances(self) -> Tensor:
        """The variance of each text's outcomes over its sets by their weights, [rows, games]."""
        return self._means((self.values - self._means(self.values)[:, None]).square())

    def _means(self, of_sets: Tensor) -> Tensor:
        return torch.einsum("rs,rsg->rg", self.weights, of_sets)


def mean_square(
    network: HeadNetwork, examples: Sequence[Example], problem: Problem, scale: Tensor
) -> float:
    """The mean squared difference of outcomes from their sums, in units of `scale`, [games].

    The network's outputs are in these units too.
    """
    with inference():
        squares = [
            Batch.of(texts, problem).in_units(scale).squares(network(states_of(texts)))
            for texts in _batches(examples)
        ]
    return float(torch.cat(squares).mean())


def explained_variance(
    network: HeadNetwork, examples: Sequence[Example], problem: Problem
) -> list[float]:
    """The share of the variance within texts of their outcomes that the sums explain, [games]."""
    left, total = [], []
    with inference():
        for texts in _batches(examples):
            batch = Batch.of(texts, problem)
            left.append(batch.squares(network(states_of(texts))))
            total.append(batch.variances())
    shares: list[float] = (
        1 - torch.cat(left).sum(0) / torch.cat(total).sum(0).clamp_min(1e-30)
    ).tolist()
    return shares


def states_of(examples: Sequence[Example]) -> Tensor:
    """The states of the tokens of one text after the other, float32 [tokens, features]."""
    # torch converts float16 many times as fast as numpy does.
    return torch.from_numpy(np.concatenate([example.states for example in examples])).float()


def _batches(examples: Sequence[Example]) -> Iterator[Sequence[Example]]:
    for start in range(0, len(examples), BATCH):
        yield examples[start : start + BATCH]


def _standardise(network: HeadNetwork, examples: Sequence[Example]) -> None:
    """Set the mean and deviation of the states, over the tokens of all texts."""
    count = 0
    total = square = torch.zeros(len(network.mean), dtype=torch.float64)
    for texts in _batches(examples):
        states = states_of(texts).double()
        count += len(states)
        total, square = total + states.sum(0), square + states.square().sum(0)
    mean = total / count
    deviation = (square / count - mean.square()).clamp_min(0).sqrt()
    network.mean.copy_(mean)
    # A feature that never varies is left as it is.
    network.deviation.copy_(torch.where(deviation > 1e-6, deviation, 1.0))


def _spread(examples: Sequence[Example], problem: Problem) -> Tensor:
    """The root mean square of the outcomes about an even share for each word, [games]."""
    squares = [
        batch.squares(torch.zeros(int(batch.in_text.sum()), batch.gain.shape[-1]))
        for batch in (Batch.of(texts, problem) for texts in _batches(examples))
    ]
    return torch.cat(squares).mean(0).sqrt().clamp_min(1e-6)
