"""The heads of models, replayed on every token and checked against the model's own output.

`PooledHead` gives one output for a text, `TokenHead` one for each token, `VocabularyHead` logits
over a vocabulary, of which only a few are computed.
"""

from collections.abc import Callable
from functools import cached_property, partial
from typing import TypeVar

import torch
from torch import Tensor

from normxlogit.errors import InputError, UnsupportedHeadError
from normxlogit.model.capture import Capture
from normxlogit.model.interventions import AMPLIFIED, Intervention, amplified, scattered
from normxlogit.model.numerics import Spread
from normxlogit.model.replay import AT_ONCE, WAY_OUT, NoOutputError, Replay
from normxlogit.model.vocabulary import Vocabulary

OnTokens = Callable[[Tensor, Tensor], Tensor]
"""Takes states [tokens, hidden] and their rows, int64 [tokens]; returns [tokens, outputs]."""

_PREFIX = 8
"""How many first positions a pooling head may read alone, or in its own way."""

_SAMPLED = 4
"""How many tokens a sliced head is compared on with the whole one."""


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

    def on_tokens(self, hidden: Tensor) -> Tensor:
        """HoT of every token: [rows, sequence, hidden] -> [rows, sequence, outputs]."""
        rows = self._rows.repeat_interleave(hidden.shape[1])
        logits = self._of_each(hidden.reshape(-1, hidden.shape[-1]), rows)
        return logits.reshape(*hidden.shape[:2], -1)

    def _read_by(self, of_each: OnTokens, prefix: int = 0) -> None:
        """Put the head on every token in one way, and find the position that it reads."""
        self._of_each = of_each
        hidden, mask = self._hidden, self._mask
        self.logits = self.on_tokens(hidden)
        if not self.logits[mask].isfinite().all():
            raise NoOutputError(
                f"the head of {self._replay.name} gives no finite output for one token. {WAY_OUT}"
            )
        if self.logits.shape[-1] != self._outputs.shape[-1]:
            raise UnsupportedHeadError(
                f"the head of {self._replay.name} gives {self._outputs.shape[-1]} outputs for the "
                f"text and {self.logits.shape[-1]} for a token. {WAY_OUT}"
            )
        first = hidden[self._rows, mask.int().argmax(1)]
        self.read_position = _checked(
            partial(self._find_read_position, prefix=prefix),
            self._replay.spread(self.logits, mask),
            lambda: of_each(first.roll(1, -1), self._rows),
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
        farthest = excess.masked_fill(~mask, -1.0).argmax(1)
        reads_one = alike.any(1)
        if reads_one.any():
            reads_one &= self._reads_only(alike, farthest, spread)
        if (reads_one & ~(alike & mask).any(1)).any():
            raise InputError(
                f"the head of {name} reads a position that is padding, so its output rests "
                "on none of the tokens. Pad on the other side, or not at all."
            )
        if not reads_one.all():
            # Pooling. One token repeated must give HoT of that token, and the order of the tokens
            # must not matter, but for that of a few first ones which are treated apart.
            self._replay.check(spread.excess(self._replay.whole(hidden), output))
            repeated = self._replay.whole(hidden[rows, farthest][:, None].expand_as(hidden))
            orders = [
                self._replay.whole(hidden[rows[:, None], _rotated_within(mask, kept)])
                for kept in range(prefix + 1)
                if kept < mask.sum(1).min() - 1 or not kept
            ]
            orders += self._orders_of_first(int(mask.sum(1).min()))
            of_orders = torch.stack([spread.excess(order, output) for order in orders]).amin(0)
            of_repeated = spread.excess(repeated, self.logits[rows, farthest])
            if (largest := of_repeated.maximum(of_orders)[~reads_one].max()) > 1:
                raise UnsupportedHeadError(
                    f"the head of {name} reads several positions, not all alike (off by "
                    f"{float(largest):.1e} times what rounding may make): its output is "
                    f"not a function of one token's final representation. {WAY_OUT}"
                )
            if not mask.all():
                beside_padding = self._replay.whole(amplified(hidden, ~mask))
                if (spread.excess(beside_padding, output)[~reads_one] > 1).any():
                    raise InputError(
                        f"the head of {name} pools padding too, so its output depends on how long "
                        "the other texts of the batch are. Give texts of one length together."
                    )
        nearest = excess.masked_fill(~mask, torch.inf).min(dim=1).indices
        return nearest.masked_fill(~reads_one, -1)

    def _reads_only(self, alike: Tensor, farthest: Tensor, spread: Spread) -> Tensor:
        """Whether the output is HoT of what stands at some positions, whatever stands at others.

        A token may give the model's output by chance, or because it is much like the one that is
        read. So the claim is tested, twice: with all other states amplified and negated, the output
        must stay, which hardly a head that reads them survives; and with another token in place,
        and others amplified the other way, it must be HoT of that token. Two signs, because a head
        may cut off what is negative, or positive.

        Args:
            alike: where HoT is the model's own output, bool [rows, sequence].
            farthest: the token whose HoT is least like it, int64 [rows].

        Returns:
            bool [rows].
        """
        hidden, rows = self._hidden, self._rows
        own = self._replay.whole(amplified(hidden, ~alike))
        another = torch.where(alike[..., None], hidden[rows, farthest][:, None], hidden)
        in_place = self._replay.whole(amplified(another, ~alike, -AMPLIFIED))
        of_another = self.logits[rows, farthest]
        return (spread.excess(own, self._outputs) <= 1) & (spread.excess(in_place, of_another) <= 1)

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


class TokenHead:
    """A head that gives an output for every token: tags, or the start and end of an answer.

    Attributes:
        logits: HoT(x_i^L), [rows, sequence, outputs].
    """

    def __init__(self, captured: Capture, mask: Tensor) -> None:
        """Replay the head on each token alone, which must give the model's own output for it.

        So it must with other tokens in their places, and others beside them.

        Raises:
            UnsupportedHeadError: it does not.
        """
        self._replay = Replay(captured)
        self._rows = torch.arange(len(mask), device=mask.device)
        hidden, outputs = captured.states.tokens, captured.logits
        self.logits = self.on_tokens(hidden)
        if outputs.shape != self.logits.shape:
            raise UnsupportedHeadError(
                f"{self._replay.name} gives outputs of shape {list(outputs.shape)} for final "
                f"hidden states of {list(hidden.shape)}. {WAY_OUT}"
            )
        moved = Intervention.of(hidden, mask)

        def check(spread: Spread) -> None:
            self._replay.check(spread.excess(self.logits, outputs)[mask])
            changed = self._replay.whole(moved.states, towers=AMPLIFIED)
            self._replay.check(spread.excess(changed, self.logits.roll(1, 1))[moved.kept])

        first = hidden[self._rows, mask.int().argmax(1)]
        _checked(
            check,
            self._replay.spread(self.logits, mask),
            lambda: self._replay.alone(first.roll(1, -1), self._rows),
        )

    def on_tokens(self, hidden: Tensor) -> Tensor:
        """HoT of every token: [rows, sequence, hidden] -> [rows, sequence, outputs]."""
        rows = self._rows.repeat_interleave(hidden.shape[1])
        logits = self._replay.alone(hidden.reshape(-1, hidden.shape[-1]), rows)
        return logits.reshape(*hidden.shape[:2], -1)


class VocabularyHead:
    """A language model's head, of which only a few outputs are computed."""

    def __init__(self, captured: Capture, mask: Tensor, read: Tensor) -> None:
        """Take the head of a forward pass.

        Args:
            captured: a forward pass that gathered the logits at `read`, if it could.
            mask: which positions hold tokens, bool [rows, sequence].
            read: the positions that are read, int64 [rows, positions].
        """
        self._captured, self._mask, self._read = captured, mask, read
        self._replay = Replay(captured)
        self._rows = torch.arange(len(read), device=read.device)[:, None]
        logits = captured.logits
        # The model's own output where it is read, [rows, positions, vocabulary].
        self._outputs = logits if captured.gathered else logits[self._rows, read]
        vocabulary = captured.vocabulary
        self._slices = vocabulary is not None and vocabulary.sliceable
        self._agreed: set[int] = set()
        self._latest = torch.empty(0, dtype=torch.long, device=read.device), torch.empty(0)
        self._checked = False

    def logits_of(self, hidden: Tensor, ids: Tensor) -> Tensor:
        """HoT(x_i)[ids]: [rows, sequence, hidden], int64 [tokens] -> [rows, sequence, tokens].

        Raises:
            UnsupportedHeadError: the replayed head does not give the model's own output.
        """
        vocabulary = self._captured.vocabulary
        wanted = set(ids.tolist())
        if vocabulary is not None and self._slices and not wanted <= self._agreed:
            self._slices = self._slices_agree(ids, vocabulary)
            self._agreed |= wanted
        if vocabulary is None or not self._slices:
            return self.each(hidden, lambda logits, _: logits[:, ids])
        latest_ids, latest_logits = self._latest
        if hidden is self._captured.states.tokens and torch.equal(ids, latest_ids):
            return latest_logits  # checking the slices has computed them already
        with vocabulary.only(ids):
            return self._on_tokens(hidden)

    def each(self, hidden: Tensor, read: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Reduce HoT(x_i) over the whole vocabulary, some tokens at a time.

        Args:
            hidden: [rows, sequence, hidden].
            read: takes logits [tokens, vocabulary] and the rows they are from, int64 [tokens], and
                returns [tokens, n].

        Returns:
            [rows, sequence, n].
        """
        if not self._checked:
            self._check_whole_head()
        owner = self._owners_of(hidden)
        size = max(1, AT_ONCE // self._outputs.shape[-1])
        parts = zip(torch.split(hidden.flatten(0, 1), size), torch.split(owner, size), strict=True)
        reduced = [read(self._replay.alone(part, owners), owners) for part, owners in parts]
        return torch.cat(reduced).reshape(*hidden.shape[:2], -1)

    def _owners_of(self, hidden: Tensor) -> Tensor:
        """The rows of [rows, sequence, hidden] as [rows * sequence]."""
        return self._rows.expand(hidden.shape[:2]).flatten()

    def _on_tokens(self, hidden: Tensor) -> Tensor:
        """HoT of every token: [rows, sequence, hidden] -> [rows, sequence, outputs]."""
        logits = self._replay.alone(hidden.flatten(0, 1), self._owners_of(hidden))
        return logits.reshape(*hidden.shape[:2], -1)

    @cached_property
    def _some(self) -> Tensor:
        """A few tokens' states, as they are, negated, and with their numbers in another order.

        A head that compares its outputs with each other (a log-softmax) gives the same with and
        without most of them where the model is sure of its token, as the others hardly count; on
        negated states it is not sure. Reordered, outputs near zero show the size of what cancels.
        """
        tokens = self._captured.states.tokens[self._mask]
        some = tokens[:: -(-len(tokens) // _SAMPLED)]
        return torch.cat([some, -some, some.roll(1, -1)])  # [3 * sampled, hidden]

    def _on_some(self) -> Tensor:
        """HoT of `_some`, [1, 3 * sampled, outputs]."""
        return self._replay.alone(self._some, torch.zeros_like(self._some[:, 0]).long())[None]

    def _slices_agree(self, ids: Tensor, vocabulary: Vocabulary) -> bool:
        """Whether the head cut to some rows of the vocabulary gives what the whole head gives.

        For each token alone it must give what it gives on the whole sequence, with others beside
        it; at the positions that are read the model's own output; and on some tokens the output of
        the whole head.
        """
        hidden, output = self._captured.states.tokens, self._outputs
        if output.shape[-1] != vocabulary.size:
            return False
        moved = Intervention.of(hidden, self._mask)
        try:
            # The whole head costs a vocabulary for each token, so it is tried once for each model.
            full = None if vocabulary.is_separable else self._on_some()
            with vocabulary.only(ids):
                whole = self._replay.whole(moved.states, towers=AMPLIFIED)
                alone = self._on_tokens(hidden)
                some = self._on_some() if full is not None else None
        except UnsupportedHeadError:
            return False
        if whole.shape != alone.shape or not vocabulary.called:
            return False

        def check(spread: Spread) -> None:
            self._replay.check(spread.excess(whole, alone.roll(1, 1))[moved.kept])
            at_read = alone[self._rows, self._read]
            self._replay.check(spread.excess(at_read, output[..., ids])[self._read >= 0])
            if some is not None and full is not None:
                of_some = self._spread_of(full[..., ids])
                self._replay.check(of_some.excess(some, full[..., ids]))

        def probe() -> Tensor:
            with vocabulary.only(ids):
                return self._on_some().abs().amax(1)

        try:
            _checked(check, self._replay.spread(alone, self._mask), probe)
        except UnsupportedHeadError:
            return False
        self._latest = ids, alone
        vocabulary.found_separable()
        return True

    def _spread_of(self, outputs: Tensor) -> Spread:
        """The spread over all of [1, tokens, outputs]."""
        return self._replay.spread(outputs, torch.ones_like(outputs[..., 0], dtype=torch.bool))

    def _check_whole_head(self) -> None:
        """Check the whole head at the positions that are read.

        Each of these states alone must give the model's own output, and so must the head on the
        whole sequence with other states amplified, and in turn these.
        """
        hidden, exists = self._captured.states.tokens, self._read >= 0
        spread = self._spread_of(self._on_some())
        read = hidden[self._rows, self._read]  # [rows, positions, hidden]
        self._replay.check(spread.excess(self._on_tokens(read), self._outputs)[exists])
        chosen = exists & scattered(exists.shape[1]).to(exists.device)
        kept = torch.zeros_like(self._mask)
        kept[self._rows.expand_as(chosen)[chosen], self._read[chosen]] = True
        changed = amplified(hidden, ~kept)
        vocabulary = self._captured.vocabulary
        if self._captured.gathered and vocabulary is not None:
            # Put on the read positions alone, the head could not show that it reads others. So it
            # is put on the first and last token too, and their outputs are left out.
            first = self._mask.int().argmax(1, keepdim=True)
            last = self._mask.shape[1] - 1 - self._mask.flip(1).int().argmax(1, keepdim=True)
            with vocabulary.reading(torch.cat([first, self._read, last], 1)):
                outputs = self._replay.whole(changed, towers=AMPLIFIED)[:, 1:-1]
        else:
            outputs = self._replay.whole(changed, towers=AMPLIFIED)[self._rows, self._read]
        self._replay.check(spread.excess(outputs, self._outputs)[chosen])
        self._checked = True


T = TypeVar("T")


def _checked(check: Callable[[Spread], T], spread: Spread, probe: Callable[[], Tensor]) -> T:
    """Check outputs; if they are refused, again with the rounding of what may cancel in them.

    An output near zero, where large numbers cancel, has the rounding of these. The same numbers in
    another order do not cancel, and show how large they are.

    Args:
        check: raises `UnsupportedHeadError` for outputs that differ by more than a spread allows.
        spread: of the outputs.
        probe: gives the outputs of states whose numbers are in another order, [rows, outputs].
    """
    try:
        return check(spread)
    except UnsupportedHeadError:
        return check(spread.widened(probe()))


def _rotated_within(mask: Tensor, kept: int) -> Tensor:
    """Positions that rotate each row's tokens after the first `kept`, int64 [rows, sequence]."""
    order = torch.arange(mask.shape[1], device=mask.device).repeat(len(mask), 1)
    for row, tokens in zip(order, mask, strict=True):
        moved = tokens.nonzero().flatten()[kept:]
        row[moved] = moved.roll(1)
    return order
