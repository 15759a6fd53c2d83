"""The network of an attribution head: hidden states in, what each token adds to the outcome out."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

DROPOUT = 0.1


class HeadNetwork(nn.Module):
    """A layer of hidden units on the standardised states of a token, side by side for each layer.

    Attributes:
        mean, deviation: of the states of the texts that it was fitted on, float32 [features].
        inner: [features] -> [width].
        outer: [width] -> [games].
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, features: int, width: int, games: int) -> None:
        """Make an untrained network.

        Args:
            features: how many numbers a token has: the layers times the model's width.
            width: how many hidden units there are.
            games: how many numbers it gives for a token.
        """
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))
        self.inner = nn.Linear(features, width)
        self.dropout = nn.Dropout(DROPOUT)
        self.outer = nn.Linear(width, games)

    def forward(self, states: Tensor) -> Tensor:
        """[..., features] of any floating-point dtype -> float32 [..., games]."""
        standard = (states.float() - self.mean).div_(self.deviation)
        outputs: Tensor = self.outer(self.dropout(gelu(self.inner(standard))))
        return outputs

    def of_layer(self, states: Tensor, number: int) -> Tensor:
        """What one layer adds to the input of the hidden units.

        Args:
            states: [..., hidden] of any floating-point dtype, where `features` is the number of
                layers times `hidden`.
            number: which layer of these it is, from 0.

        Returns:
            float32 [..., width].
        """
        hidden = states.shape[-1]
        part = slice(number * hidden, (number + 1) * hidden)
        # The deviation goes into the weights, which are few. The mean does not: where it is large
        # beside the deviation, most digits of the products would cancel out.
        centred = (states - self.mean[part]).float()
        return linear(centred, self.inner.weight[:, part] / self.deviation[part])

    def of_layers(self, parts: Iterable[Tensor]) -> Tensor:
        """What `forward` gives for a token, of what `of_layer` gave for every layer: [..., games].

        Without dropout.
        """
        outputs: Tensor = self.outer(gelu(sum(parts, start=self.inner.bias)))
        return outputs


def shared_out(values: Tensor, words: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    """Add what is missing to the gain, in equal parts for each word (efficient normalisation).

    Jethani et al. 2022, FastSHAP (ICLR), equation 7; a word's part is shared evenly by its tokens.

    Args:
        values: what the network gives, [rows, sequence, games].
        words: the number of each token's word, int64 [rows, sequence]; -1 for tokens of none.
        gain: the outcome of the whole text less that of one with all words hidden, [rows, games].

    Returns:
        Tokens' parts, [rows, sequence, games], 0 at tokens of no word, which sum up to `gain` in
        rows that have a word; and how many words each row has, [rows, 1].
    """
    in_word = words >= 0
    same = (words[:, :, None] == words[:, None, :]) & in_word[:, :, None]
    size = same.sum(2).clamp_min(1)  # how many tokens each token's word has, [rows, sequence]
    share = in_word / size  # which sum up to 1 in each word
    count = share.sum(1, keepdim=True).round()  # [rows, 1]
    values = values * in_word[..., None]
    missing = (gain - values.sum(1)) / count.clamp_min(1)  # [rows, games]
    return values + missing[:, None] * share[..., None], count
