"""Heads that give one output for a text, from one position or by pooling."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from normxlogit.errors import InputError, UnsupportedHeadError
from normxlogit.model.capture import Capture
from normxlogit.model.heads.interventions import (
    AMPLIFIED,
    WEAKENED,
    amplified,
    scaled,
    scattered,
)
from normxlogit.model.heads.replay import WAY_OUT, NoOutputError, OnTokens, Replay
from normxlogit.model.heads.spread import Spread, checked

_PREFIX = 8
"""How many first positions a pooling head may read alone, or in its own way."""


class PooledHead:
    """A head that gives one output for a sequence, from one position or by pooling.

    Attributes:
        logits: HoT(x_i^L), [rows, sequence, outputs].
        read_position: the position of x^L that the head reads, [rows]; -1 where it reads several.
    """

    def __init__(self, captured: Capture, mask: Tensor) -> None:
        """Replay the head on x^L and check it.

        Args:
            captured: a forward pass.
            mask: which positions hold tokens, bool [rows, sequence].

        Raises:
            InputError: the head reads a position that is padding.
            UnsupportedHeadError: the replayed head does not give the model's own output.
        """
        self._replay = Replay(captured)
        self._outputs, self._hidden, self._mask = captured.logits, captured.states.tokens, mask
        self._rows = torch.arange(len(mask), device=mask.device)
        self._of_each: OnTokens = self._replay.alone
        try:
            self._read_by(self._replay.alone)
        except UnsupportedHeadError as error:
            if self._replay.features:
                self._read_by(partial(self._replay.alone, features=True))
            elif not isinstance(error, NoOutputError):
                raise
            else:
                # A head that drops the first positions has nothing left of one token: its output,
                # if any, is the mean of nothing. It is given the token at every position instead.
                try:
                    self._read_by(self._replay.repeated, _PREFIX)
                except NoOutputError as again:
                    raise again from error

    @property
    def takes_tokens_alone(self) -> bool:
        """Whether HoT is the head on each token as a text of length one, given nothing else."""
        return self._of_each == self._replay.alone

    def on_tokens(self, hidden: Tensor) -> Tensor:
        """HoT of every token: [rows, sequence, hidden] -> [rows, sequence, outputs]."""
        return self._replay.on_tokens(hidden, self._of_each)

    def _read_by(self, of_each: OnTokens, prefix: int = 0) -> None:
        """Put the head on every token in one way, and find the position that it reads."""
        self._of_each = of_each
        hidden, mask, rows = self._hidden, self._mask, self._rows
        # A tenth of the last token's state, which the checks put in other places, goes with them.
        last = mask.shape[1] - 1 - mask.flip(1).int().argmax(1)
        self._weak = hidden[rows, last] * WEAKENED  # [rows, hidden]
        of_all = self.on_tokens(torch.cat([hidden, self._weak[:, None]], 1))
        self.logits, self._of_weak = of_all[:, :-1], of_all[:, -1]
        if not self.logits[mask].isfinite().all():
            raise NoOutputError(
                f"the head of {self._replay.name} gives no finite output for one token. {WAY_OUT}"
            )
        if self.logits.shape[-1] != self._outputs.shape[-1]:
            raise UnsupportedHeadError(
                f"the head of {self._replay.name} gives {self._outputs.shape[-1]} outputs for the "
                f"text and {self.logits.shape[-1]} for a token. {WAY_OUT}"
            )
        first = hidden[rows, mask.int().argmax(1)]
        self.read_position = checked(
            partial(self._find_read_position, prefix=prefix),
            self._replay.spread(self.logits, mask),
            lambda: of_each(first.roll(1, -1), rows),
        )

    def _find_read_position(self, spread: Spread, *, prefix: int) -> Tensor:
        """Where HoT(x_i^L) is the model's own output, whatever stands at the other positions.

        A head without such a position must pool: give the same whatever the order of the tokens and
        whatever the padding, and on one repeated token what it gives on that token alone. Then HoT
        is defined as well. So it is for a head that drops, or tells apart, at most `prefix` first
        positions and pools the others: HoT is its output when all positions hold the token.

        Returns:
            int64 [rows]; -1 where the head pools.

        Raises:
            InputError: it reads padding.
            UnsupportedHeadError: the output is not a function of one token's state.
        """
        output, hidden, mask, name = self._outputs, self._hidden, self._mask, self._replay.name
        rows = self._rows
        if self._replay.has_towers:
            changed = self._replay.whole(hidden, towers=AMPLIFIED)
            self._replay.check_trunk(spread.excess(changed, output))
        excess = spread.excess(self.logits, output[:, None])  # [rows, sequence]
        alike = excess <= 1
        position, reads_one = alike.int().argmax(1), alike.any(1)
        other = excess.masked_fill(~mask, -1.0).argmax(1)
        if reads_one.any():
            position, stays = self._tested(alike, other, spread)
            reads_one &= stays
        if (reads_one & ~mask[rows, position]).any():
            raise InputError(
                f"the head of {name} reads a position that is padding, so its output rests "
                "on none of the tokens. Pad on the other side, or not at all."
            )
        if not reads_one.all():
            self._check_pools(~reads_one, other, spread, prefix)
        return position.masked_fill(~reads_one, -1)

    def _tested(self, alike: Tensor, other: Tensor, spread: Spread) -> tuple[Tensor, Tensor]:
        """The one position that may be read, and whether the output is HoT of what stands there.

        A token may give the model's output by chance, or because it is much like the one that is
        read. So the claim is tested on other states: those of all other positions are amplified,
        and in place stand the token itself, another, and a tenth of one. Amplified once negated and
        once not, because a head may cut off what is negative, or positive; a tenth, because outputs
        such as probabilities hardly change where they are sure.

        Args:
            alike: where HoT is the model's own output, bool [rows, sequence].
            other: the token whose HoT is least like it, int64 [rows].

        Returns:
            int64 [rows], bool [rows].
        """
        hidden, rows, weak, of_weak = self._hidden, self._rows, self._weak, self._of_weak
        # Where HoT is saturated, that of weak states is beyond it.
        saturated = spread.widened(of_weak)
        while (alike.sum(1) > 1).any():
            # Rows with one position left keep it: it is the first half of one.
            half = alike & (2 * alike.cumsum(1) <= alike.sum(1, keepdim=True) + 1)
            placed = torch.where(half[..., None], weak[:, None], amplified(hidden, ~half))
            is_in_half = saturated.excess(self._replay.whole(placed), of_weak) <= 1
            rest = alike & ~half
            alike = torch.where(is_in_half[:, None] | ~rest.any(1, keepdim=True), half, rest)
        position = alike.int().argmax(1)
        factors = torch.tensor([AMPLIFIED, -AMPLIFIED] * 2, dtype=hidden.dtype)
        variants = scaled(hidden, factors.to(hidden.device)[:, None, None, None])
        in_place = [hidden[rows, position], hidden[rows, other], weak, weak]
        variants[:, rows, position] = torch.stack(in_place)  # [4, rows, sequence, hidden]
        outputs = self._replay.whole(variants.flatten(0, 1), rows=rows.repeat(4))
        outputs = outputs.reshape(4, len(rows), -1).transpose(0, 1)  # [rows, 4, outputs]
        expected = torch.stack([self._outputs, self.logits[rows, other]], 1)
        excess = spread.excess(outputs[:, :2], expected).amax(1)
        excess_of_weak = saturated.excess(outputs[:, 2:], of_weak[:, None]).amax(1)
        return position, excess.maximum(excess_of_weak) <= 1

    def _check_pools(self, pooling: Tensor, other: Tensor, spread: Spread, prefix: int) -> None:
        """Check that rows are pooled: one repeated token gives HoT of that token, and the order of
        the tokens does not matter, but for that of a few first ones which are treated apart.

        Args:
            pooling: the rows to check, bool [rows].
            other: the token whose HoT is least like the model's own output, int64 [rows].
            spread: of HoT.
            prefix: how many first positions may be treated apart.

        Raises:
            InputError: padding is pooled too.
            UnsupportedHeadError: the rows are not pooled.
        """
        output, hidden, mask, name = self._outputs, self._hidden, self._mask, self._replay.name
        rows, shortest = self._rows, int(mask.sum(1).min())
        self._replay.check(spread.excess(self._replay.whole(hidden), output)[pooling])
        repeated = self._replay.whole(hidden[rows, other][:, None].expand_as(hidden))
        # Weak states too: outputs such as probabilities hardly change where they are sure. They are
        # of both signs, as what tokens share would stay in their weighted sum. The order is rotated
        # and reversed, as pooling may be symmetric, or weigh neighbours alike.
        negated = ~scattered(hidden.shape[1]).to(hidden.device)
        weak = amplified(hidden * WEAKENED, negated.expand_as(mask), -1.0)
        of_weak = self._replay.whole(weak)
        saturated = spread.widened(of_weak)
        orders = []
        for kept in range(prefix + 1):
            if kept < shortest - 1 or not kept:
                rotated = hidden[rows[:, None], _reordered(mask, kept, lambda order: order.roll(1))]
                reverse = weak[rows[:, None], _reordered(mask, kept, lambda order: order.flip(0))]
                orders.append(
                    spread.excess(self._replay.whole(rotated), output).maximum(
                        saturated.excess(self._replay.whole(reverse), of_weak)
                    )
                )
        orders += [spread.excess(order, output) for order in self._orders_of_first(shortest)]
        of_repeated = spread.excess(repeated, self.logits[rows, other])
        largest = of_repeated.maximum(torch.stack(orders).amin(0))[pooling].max()
        if not largest <= 1:
            raise UnsupportedHeadError(
                f"the head of {name} reads several positions, not all alike (off by "
                f"{float(largest):.1e} times what rounding may make): its output is not a function "
                f"of one token's final representation. {WAY_OUT}"
            )
        if not mask.all():
            beside_padding = self._replay.whole(amplified(hidden, ~mask))
            if (spread.excess(beside_padding, output)[pooling] > 1).any():
                raise InputError(
                    f"the head of {name} pools padding too, so its output depends on how long the "
                    "other texts of the batch are. Give texts of one length together."
                )

    def _orders_of_first(self, length: int) -> list[Tensor]:
        """The outputs with the first positions reordered and all others negated, [rows, outputs].

        For heads that pool a few first positions alone.
        """
        outputs = []
        for size in range(2, min(_PREFIX, length)):
            moved = -self._hidden
            moved[:, :size] = self._hidden[:, :size].roll(1, 1)
            outputs.append(self._replay.whole(moved))
        return outputs


def _reordered(mask: Tensor, kept: int, reorder: Callable[[Tensor], Tensor]) -> Tensor:
    """Positions that reorder each row's tokens after the first `kept`, int64 [rows, sequence]."""
    order = torch.arange(mask.shape[1], device=mask.device).repeat(len(mask), 1)
    for row, tokens in zip(order, mask, strict=True):
        moved = tokens.nonzero().flatten()[kept:]
        row[moved] = reorder(moved)
    return order
