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
        self._outputs, self._hidden, self._mask = captured.logits, captured.states.tokens, mask
        self._of_each = self._replay.alone
        reason: UnsupportedHeadError | None = None
        try:
            self.logits = self.on_tokens(self._hidden)
            takes_one_token = bool(self.logits[mask].isfinite().all())
        except UnsupportedHeadError as error:
            takes_one_token, reason = False, error
        if not takes_one_token:
            # A head that drops the first positions has nothing left of one token: its output, if
            # any, is the mean of nothing. It is given the token at every position instead.
            self._of_each = self._replay.repeated
            try:
                self.logits = self.on_tokens(self._hidden)
            except UnsupportedHeadError as error:
                raise error from reason
        self.read_position = self._find_read_position(0 if takes_one_token else _PREFIX)

    def on_tokens(self, hidden: Tensor) -> Tensor:
        """HoT of every token: [rows, sequence, hidden] -> [rows, sequence, outputs]."""
        logits = self._of_each(hidden.reshape(-1, hidden.shape[-1]))
        return logits.reshape(*hidden.shape[:2], -1)

    def _find_read_position(self, prefix: int) -> Tensor:
        """Where HoT(x_i^L) is the model's own output, whatever stands at the other positions.

        A head without such a position must pool: give the same whatever the order of the tokens,
        and on one repeated token what it gives on that token alone. Then HoT is defined as well. So
        it is for a head that drops, or tells apart, at most `prefix` first positions and pools the
        others: HoT is its output when all positions hold the token.

        Returns:
            int64 [rows]; -1 where the head pools.

        Raises:
            InputError: the position is padding.
            UnsupportedHeadError: the output is not a function of one token's state.
        """
        output, hidden, mask, name = self._outputs, self._hidden, self._mask, self._replay.name
        if self.logits.shape[-1] != output.shape[-1]:
            raise UnsupportedHeadError(
                f"the head of {name} gives {output.shape[-1]} outputs for the text and "
                f"{self.logits.shape[-1]} for a token. {WAY_OUT}"
            )
        within = self._replay.within
        rows = torch.arange(len(output), device=output.device)
        gaps = gap(self.logits, output[:, None])  # [rows, sequence]
        alike = gaps <= within
        reads_one = alike.any(1)
        if reads_one.any():
            # A token may give the model's output by chance, or because it is much like the one that
            # is read. So the claim is tested: all other states are negated, which no head that
            # reads them survives, and the output must stay.
            elsewhere_negated = torch.where(alike[..., None], hidden, -hidden)
            reads_one &= gap(self._replay.whole(elsewhere_negated), output) <= within
        if (reads_one & ~(alike & mask).any(1)).any():
            raise InputError(
                f"the head of {name} reads a position that is padding, so its output rests "
                "on none of the tokens. Pad on the other side, or not at all."
            )
        if not reads_one.all():
            # Pooling. One token repeated must give HoT of that token, and the order of the tokens
            # must not matter, but for that of a few first ones which are treated apart.
            self._check_whole()
            token = mask.int().argmax(1)
            repeated = self._replay.whole(hidden[rows, token][:, None].expand_as(hidden))
            differences = gap(repeated, self.logits[rows, token])
            orders = [
                gap(self._replay.whole(hidden[rows[:, None], _rotated_within(mask, kept)]), output)
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
        """What reordering the first positions changes, all others negated: differences [rows].

        For heads that pool a few first positions alone.
        """
        differences = []
        for size in range(2, min(_PREFIX, length)):
            moved = -self._hidden
            moved[:, :size] = self._hidden[:, :size].roll(1, 1)
            differences.append(gap(self._replay.whole(moved), self._outputs))
        return differences

    def _check_whole(self) -> None:
        """On x^L as it is, the head must give the model's own output."""
        self._replay.check(self._replay.whole(self._hidden), self._outputs)


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
        outputs = captured.logits
        if outputs.shape != self.logits.shape:
            raise UnsupportedHeadError(
                f"{self._replay.name} gives outputs of shape {list(outputs.shape)} for final "
                f"hidden states of {list(captured.states.tokens.shape)}. {WAY_OUT}"
            )
        self._replay.check(self.logits[mask], outputs[mask])

    def on_tokens(self, hidden: Tensor) -> Tensor:
        """HoT of every token: [rows, sequence, hidden] -> [rows, sequence, outputs]."""
        return self._replay.alone(hidden.reshape(-1, hidden.shape[-1])).reshape(
            *hidden.shape[:2], -1
        )


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
            return self._replay.alone(hidden.flatten(0, 1)).reshape(*hidden.shape[:2], len(ids))

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
        rows, sequence, _ = hidden.shape
        owner = torch.arange(rows, device=hidden.device).repeat_interleave(sequence)
        size = max(1, AT_ONCE // self._outputs.shape[-1])
        flat = hidden.flatten(0, 1)
        parts = zip(torch.split(flat, size), torch.split(owner, size), strict=True)
        reduced = torch.cat([read(self._replay.alone(part), owners) for part, owners in parts])
        return reduced.reshape(rows, sequence, -1)

    def _slices_agree(self, ids: Tensor, vocabulary: Vocabulary) -> bool:
        """Whether the head cut to some rows of the vocabulary gives what the whole head gives.

        For each token alone it must give what it gives on the whole sequence, at the positions that
        are read the model's own output, and on some tokens the output of the whole head.
        """
        hidden, output = self._captured.states.tokens, self._outputs
        if output.shape[-1] != vocabulary.size:
            return False
        tokens = hidden[self._mask]
        # A head that compares its outputs with each other (a log-softmax) passes where the model is
        # sure of its token, as the others hardly count; on negated states it is not sure.
        some = tokens[:: -(-len(tokens) // _SAMPLED)]
        some = torch.cat([some, -some])
        try:
            # The whole head costs a vocabulary for each token, so it is tried once for each model.
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
        exists = self._read >= 0
        # Pairs that must agree, and the outputs whose size says how closely.
        pairs = [
            (whole[self._mask], alone[self._mask], output),
            (alone[self._rows, self._read][exists], output[..., ids][exists], output),
        ]
        if full is not None:
            pairs.append((sampled, full[:, ids], full))
        agree = all(
            bool(((a - b).abs() <= within * magnitude(scale)).all()) for a, b, scale in pairs
        )
        if agree:
            vocabulary.found_separable()
        return agree

    def _check_whole_head(self) -> None:
        """Check the whole head at the positions that are read.

        Each of these states alone must give the model's own output, and so must the head on the
        whole sequence with all other states negated.
        """
        hidden, exists = self._captured.states.tokens, self._read >= 0
        alone = self._replay.alone(hidden[self._rows, self._read][exists])
        self._replay.check(alone, self._outputs[exists])
        kept = torch.zeros_like(self._mask)
        kept[self._rows, self._read] = True
        negated = torch.where(kept[..., None], hidden, -hidden)
        vocabulary = self._captured.vocabulary
        if self._captured.gathered and vocabulary is not None:
            # Put on the read positions alone, the head could not show that it reads others. So it
            # is put on the first and last token too, and their outputs are left out.
            first = self._mask.int().argmax(1, keepdim=True)
            last = self._mask.shape[1] - 1 - self._mask.flip(1).int().argmax(1, keepdim=True)
            with vocabulary.reading(torch.cat([first, self._read, last], 1)):
                outputs = self._replay.whole(negated)[:, 1:-1]
        else:
            outputs = self._replay.whole(negated)[self._rows, self._read]
        self._replay.check(outputs[exists], self._outputs[exists])
        self._checked = True


def _rotated_within(mask: Tensor, kept: int) -> Tensor:
    """Positions that rotate each row's tokens after the first `kept`, int64 [rows, sequence]."""
    order = torch.arange(mask.shape[1], device=mask.device).repeat(len(mask), 1)
    for row, tokens in zip(order, mask, strict=True):
        moved = tokens.nonzero().flatten()[kept:]
        row[moved] = moved.roll(1)
    return order
