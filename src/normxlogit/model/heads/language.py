"""The heads of language models, of which only a few outputs are computed."""

from collections.abc import Callable
from functools import cached_property, partial

import torch
from torch import Tensor

from normxlogit.errors import UnsupportedHeadError
from normxlogit.model.capture import Capture
from normxlogit.model.heads.interventions import AMPLIFIED, Intervention, amplified, scattered
from normxlogit.model.heads.replay import AT_ONCE, Replay
from normxlogit.model.heads.spread import Spread, checked
from normxlogit.model.vocabulary import Vocabulary

_SAMPLED = 4
"""How many tokens a sliced head is compared on with the whole one."""


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
            return self._replay.on_tokens(hidden)

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
        owner = self._rows.expand(hidden.shape[:2]).flatten()
        size = max(1, AT_ONCE // self._outputs.shape[-1])
        parts = zip(torch.split(hidden.flatten(0, 1), size), torch.split(owner, size), strict=True)
        reduced = [read(self._replay.alone(part, owners), owners) for part, owners in parts]
        return torch.cat(reduced).reshape(*hidden.shape[:2], -1)

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
                alone = self._replay.on_tokens(hidden)
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
            checked(check, self._replay.spread(alone, self._mask), probe)
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
        self._replay.check(spread.excess(self._replay.on_tokens(read), self._outputs)[exists])
        chosen = exists & scattered(exists.shape[1]).to(exists.device)
        kept = torch.zeros_like(self._mask)
        kept[self._rows.expand_as(chosen)[chosen], self._read[chosen]] = True
        changed = amplified(hidden, ~kept)
        vocabulary = self._captured.vocabulary
        whole = partial(self._replay.whole, changed, towers=AMPLIFIED)
        if self._captured.gathered and vocabulary is not None:
            # Put on the read positions alone, the head could not show that it reads others. So it
            # is put on the first and last token too, and their outputs are left out.
            first = self._mask.int().argmax(1, keepdim=True)
            last = self._mask.shape[1] - 1 - self._mask.flip(1).int().argmax(1, keepdim=True)
            with vocabulary.reading(torch.cat([first, self._read, last], 1)):
                outputs = whole()
            # Generated text has the last logits of each step, whether or not a head can gather.
            gathers = vocabulary.called
            outputs = outputs[:, 1:-1] if gathers else outputs[self._rows, self._read]
        else:
            outputs = whole()[self._rows, self._read]
        self._replay.check(spread.excess(outputs, self._outputs)[chosen])
        self._checked = True
