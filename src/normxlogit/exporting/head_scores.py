"""An attribution head as a module: from the states of layers to the scores of tokens."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from normxlogit.methods.attribution_head import AttributionHead
from normxlogit.methods.attribution_head.games import game_values
from normxlogit.methods.attribution_head.head import EmptyOutcomes, UsualStates, text_means
from normxlogit.methods.attribution_head.network import shared_out


class HeadScores(nn.Module):
    """What the method "attribution_head" computes, for every label by its default readout.

    Attributes:
        layers: the blocks whose outputs it reads; 0 is the first block's input.
        network: the head's network.
    """

    lengths: Tensor
    logits: Tensor
    mean: Tensor
    deviation: Tensor
    components: Tensor

    def __init__(self, head: AttributionHead) -> None:
        """Copy a head."""
        super().__init__()
        self.layers, self._problem = head.layers, head.record.problem
        self.network = copy.deepcopy(head.network).requires_grad_(False)
        self._limit = head.usual.limit
        self.register_buffer("lengths", head.empty.lengths.clone())
        self.register_buffer("logits", head.empty.logits.clone())
        self.register_buffer("mean", head.usual.mean.clone())
        self.register_buffer("deviation", head.usual.deviation.clone())
        self.register_buffer("components", head.usual.components.clone())

    def forward(
        self, layers: Sequence[Tensor], is_token: Tensor, words: Tensor, logits: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Score tokens.

        Args:
            layers: the states of `layers`, each [batch, sequence, hidden].
            is_token: where tokens are, bool [batch, sequence].
            words: the number of each token's word, int64 [batch, sequence]; -1 for none.
            logits: the model's own output, float32 [batch, labels].

        Returns:
            Scores [batch, labels, sequence], base values [batch, labels], distances [batch].
        """
        words = words.masked_fill(~is_token, -1)
        network, problem, labels = self.network, self._problem, logits.shape[-1]
        values = network.of_layers(
            [network.of_layer(states, number) for number, states in enumerate(layers)]
        )
        empty = EmptyOutcomes(self.lengths, self.logits).at(is_token.sum(1))
        base = game_values(empty, logits, problem)
        parts, _ = shared_out(values, words, game_values(logits, logits, problem) - base)
        usual = UsualStates(self.mean, self.deviation, self.components, self._limit)
        means = torch.cat([text_means(states, is_token) for states in layers], -1)
        # The games of the default readout come first.
        return parts[..., :labels].mT, base[:, :labels], usual.distance(means)
