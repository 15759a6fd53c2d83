"""The heads of models, replayed on every token and checked against the model's own output.

`PooledHead` gives one output for a text, `TokenHead` one for each token, `VocabularyHead` logits
over a vocabulary, of which only a few are computed.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from normxlogit.errors import InputError, UnsupportedHeadError
from normxlogit.model.capture import Capture
from normxlogit.model.numerics import gap, magnitude
from normxlogit.model.replay import AT_ONCE, WAY_OUT, Replay
from normxlogit.model.vocabulary import Vocabulary

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
        self._own, self._hidden, self._mask = captured.logits, captured.states.tokens, mask
        self._of_each = self._replay.alone
        reason: UnsupportedHeadError | None = None
        try:
            self.logits = self.on_tokens(self._hidden)
            alone = bool(self.logits[mask].isfinite().all())
        except UnsupportedHeadError as error:
            alone, reason = False, error
        if not alone:
            self._of_each = self._replay.repeated  # a head that drops the first positions
            try:
                self.logits = self.on_tokens(self._hidden)
            except UnsupportedHeadError as error:
                raise error from reason
        self.read_position = self._find_read_position(_PREFIX if not alone else 0)

    def on_tokens(self, hidden: Tensor) -> Tensor:
        """HoT of every token: [rows, sequence, hidden] -> [rows, sequence, outputs]."""
        logits = self._of_each(hidden.reshape(-1, hidden.shape[-1]))
        return logits.reshape(*hidden.shape[:2], -1)

    def _find_read_position(self, prefix: int) -> Tensor:
        """Where HoT(x_i^L) is the model's own output, whatever stands at the other positions.

        A head that has no such position must pool: give the same whatever the order of the tokens,
        and on one repeated token what it gives on that token alone. Then HoT is defined as well. So
        it is for a head that gives nothing for a token alone because it drops or tells apart the
        first positions (at most `prefix`), and pools the others: HoT is what it says when all of
        them hold the token.
        """
        own, hidden, mask, name = self._own, self._hidden, self._mask, self._replay.name
        if self.logits.shape[-1] != own.shape[-1]:
            raise UnsupportedHeadError(
                f"the head of {name} gives {own.shape[-1]} outputs for the text and "
                f"{self.logits.shape[-1]} for a token. {WAY_OUT}"
            )
        within = self._replay.within
        rows = torch.arange(len(own), device=own.device)
        gaps = gap(self.logits, own[:, None])
        alike = gaps <= within
        reads_one = alike.any(1)
        if reads_one.any():
            elsewhere_negated = torch.where(alike[..., None], hidden, -hidden)
            reads_one &= gap(self._replay.whole(elsewhere_negated), own) <= within
        if (reads_one & ~(alike & mask).any(1)).any():
            raise InputError(
                f"the head of {name} reads a position that is padding, so its output rests "
                "on none of the tokens. Pad on the other side, or not at all."
            )
        if not reads_one.all():
            self._check_whole()
            token = mask.int().argmax(1)
            repeated = self._replay.whole(hidden[rows, token][:, None].expand_as(hidden))
            differences = gap(repeated, self.logits[rows, token])
            orders = [
                gap(self._replay.whole(hidden[rows[:, None], _rotated_within(mask, kept)]), own)
                for kept in range(prefix + 1)
                if kept < mask.sum(1).min() - 1 or not kept
            ]
            orders += self._orders_of_first(int(mask.sum(1).min()))
            differences = torch.maximum(differences, torch.stack(orders).amin(0))
            if (difference := differences[~reads_one].max()) > within:
                raise UnsupportedHeadError(
                    f"the head of {name} reads several positions, not all alike "
                    f"(relative difference {float(difference):.1e}): its output is not a function "
                    f"of one token's final representation. {WAY_OUT}"
                )
        nearest = gaps.masked_fill(~mask, torch.inf).min(dim=1).indices
        return nearest.masked_fill(~reads_one, -1)

    def _orders_of_first(self, length: int) -> list[Tensor]:
        """For heads that pool a few first positions: what changing their order does, with all
        others negated, as relative differences [rows].
        """
        differences = []
        for size in range(2, min(_PREFIX, length)):
            moved = -self._hidden
            moved[:, :size] = self._hidden[:, :size].roll(1, 1)
            differences.append(gap(self._replay.whole(moved), self._own))
        return differences

    def _check_whole(self) -> None:
        """On x^L as it is, the head must give the model's own output."""
        self._replay.check(self._replay.whole(self._hidden), self._own)


class TokenHead:
    """A head that gives an output for every token: tags, or the start and end of an answer.

    Attributes:
        logits: HoT(x_i^L), [rows, sequence, outputs].
    """

    def __init__(self, captured: Capture, mask: Tensor) -> None:
        """Replay the head on each token alone, which must give the model's own output for it.

        Raises:
            UnsupportedHeadError: it does not.
        """
        self._replay = Replay(captured)
        self.logits = self.on_tokens(captured.states.tokens)
        own = captured.logits
        if own.shape != self.logits.shape:
            raise UnsupportedHeadError(
                f"{self._replay.name} gives outputs of shape {list(own.shape)} for final hidden "
                f"states of {list(captured.states.tokens.shape)}. {WAY_OUT}"
            )
        self._replay.check(self.logits[mask], own[mask])

    def on_tokens(self, hidden: Tensor) -> Tensor:
        """HoT of every token: [rows, sequence, hidden] -> [rows, sequence, outputs]."""
        return self._replay.alone(hidden.reshape(-1, hidden.shape[-1])).reshape(
            *hidden.shape[:2], -1
        )


class VocabularyHead:
    """A language model's head, of whose outputs only some are wanted."""

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
        self.own = logits if captured.gathered else logits[self._rows, read]
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
        known, found = self._latest
        if hidden is self._captured.states.tokens and torch.equal(ids, known):
            return found
        with vocabulary.only(ids):
            return self._replay.alone(hidden.flatten(0, 1)).reshape(*hidden.shape[:2], len(ids))

    def each(self, hidden: Tensor, read: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """What `read` makes of all of HoT(x_i), some tokens at a time.

        Args:
            hidden: [rows, sequence, hidden].
            read: takes logits [tokens, vocabulary] and the rows that they are from, int64 [tokens],
                and returns [tokens, n].

        Returns:
            [rows, sequence, n].
        """
        if not self._checked:
            self._check_whole_head()
        rows, sequence, _ = hidden.shape
        owner = torch.arange(rows, device=hidden.device).repeat_interleave(sequence)
        size = max(1, AT_ONCE // self.own.shape[-1])
        flat = hidden.flatten(0, 1)
        parts = zip(torch.split(flat, size), torch.split(owner, size), strict=True)
        found = torch.cat([read(self._replay.alone(part), rows) for part, rows in parts])
        return found.reshape(rows, sequence, -1)

    def _slices_agree(self, ids: Tensor, vocabulary: Vocabulary) -> bool:
        """Whether the head with these rows alone gives for each token alone what it gives on the
        whole sequence, at the positions that are read the model's own output, and on some tokens
        what the whole head gives.

        The latter is looked at once for each model. Tokens with
        their signs changed are among those, on which a head that compares outputs with each other
        (a log-softmax) does not say what it says where the model is sure.
        """
        hidden, own = self._captured.states.tokens, self.own
        if own.shape[-1] != vocabulary.size:
            return False
        tokens = hidden[self._mask]
        some = tokens[:: -(-len(tokens) // _SAMPLED)]
        some = torch.cat([some, -some])
        try:
            full = None if vocabulary.is_separable else self._replay.alone(some)
            with vocabulary.only(ids):
                whole = self._replay.whole(hidden)
                alone = self._replay.alone(hidden.flatten(0, 1))
                sampled = alone if full is None else self._replay.alone(some)
        except UnsupportedHeadError:
            return False
        if whole.shape != (*hidden.shape[:2], len(ids)) or not vocabulary.called:
            return False
        alone = alone.reshape(whole.shape)
        self._latest = ids, alone
        within = self._replay.within
        there = self._read >= 0
        pairs = [
            (whole[self._mask], alone[self._mask], own),
            (alone[self._rows, self._read][there], own[..., ids][there], own),
        ]
        if full is not None:
            pairs.append((sampled, full[:, ids], full))
        agreed = all(
            bool(((a - b).abs() <= within * magnitude(scale)).all()) for a, b, scale in pairs
        )
        if agreed:
            vocabulary.found_separable()
        return agreed

    def _check_whole_head(self) -> None:
        """Each position that is read, alone, must give the model's own output, and so must the head
        on the whole sequence with all other positions negated; on the first and last as well, if it
        was put on nothing but the positions that are read.
        """
        hidden, there = self._captured.states.tokens, self._read >= 0
        alone = self._replay.alone(hidden[self._rows, self._read][there])
        self._replay.check(alone, self.own[there])
        kept = torch.zeros_like(self._mask)
        kept[self._rows, self._read] = True
        negated = torch.where(kept[..., None], hidden, -hidden)
        vocabulary = self._captured.vocabulary
        if self._captured.gathered and vocabulary is not None:
            first = self._mask.int().argmax(1, keepdim=True)
            last = self._mask.shape[1] - 1 - self._mask.flip(1).int().argmax(1, keepdim=True)
            with vocabulary.reading(torch.cat([first, self._read, last], 1)):
                outputs = self._replay.whole(negated)[:, 1:-1]
        else:
            outputs = self._replay.whole(negated)[self._rows, self._read]
        self._replay.check(outputs[there], self.own[there])
        self._checked = True


def _rotated_within(mask: Tensor, kept: int) -> Tensor:
    """Positions [rows, sequence] that move each token of a row to the next's place, but for the
    first `kept`.
    """
    order = torch.arange(mask.shape[1], device=mask.device).repeat(len(mask), 1)
    for row, tokens in zip(order, mask, strict=True):
        moved = tokens.nonzero().flatten()[kept:]
        row[moved] = moved.roll(1)
    return order
