"""What a method sees: a forward pass and what is asked of it."""

from functools import cached_property, partial

import torch
from torch import Tensor, nn

from normxlogit.methods.lrp_passes import LRPReruns
from normxlogit.methods.paper_passes import NotebookReruns
from normxlogit.model.forward import ForwardPass
from normxlogit.model.readouts import READOUTS
from normxlogit.model.reruns import Reruns
from normxlogit.model.targets import Asked
from normxlogit.model.trace import norms_of
from normxlogit.text.token_lookup import TokenLookup


class MethodContext:
    """A forward pass and the question put to it.

    Attributes:
        asked: what is explained.
        ids: the tokens, [batch, targets or 1, sequence]; None if there are none.
        mask: which of them took part in the output, bool [batch, targets or 1, sequence].
        lookup: what a tokenizer knows of the tokens.
        notes: what a method says of its own scores, parts of one, float32 [batch, targets] by name.
        unsigned: of scores that speak neither for nor against the target, what a high one says in a
            few words; a method sets it.
    """

    def __init__(
        self,
        forward: ForwardPass,
        asked: Asked,
        foils: Tensor | None,
        readout: str,
        lookup: TokenLookup,
    ) -> None:
        self.asked, self.lookup = asked, lookup
        self.ids = None if forward.ids is None else forward.of_targets(forward.ids, asked)
        self.mask = forward.seen(asked)
        self.notes: dict[str, Tensor] = {}
        self.unsigned: str | None = None
        self._reads_layers = self._reads_states = False
        self._forward, self._foils = forward, foils
        self._readout = READOUTS[forward.problem][readout]

    @property
    def layers(self) -> list[int]:
        """The numbers of the layers that are read, from 1."""
        self._reads_layers = self._reads_states = True
        return self._forward.layers

    @property
    def depth(self) -> int:
        """How many layers the model has."""
        return self._forward.captured.depth

    @property
    def blocks(self) -> nn.Module | None:
        """The model's list of the blocks that are its layers, if that was seen; `ModelClone.of` has
        the copy of it in a clone.
        """
        captured = self._forward.captured
        stack, copies = captured.states.stack, captured.clone.of.items()
        return None if stack is None else next(m for m, twin in copies if twin is stack.blocks)

    @cached_property
    def reruns(self) -> Reruns:
        """Further passes of the model on variants of these inputs.

        Raises:
            UnsupportedHeadError: the inputs are no tokens.
        """
        return self._forward.reruns(self.asked, self._foils, self._readout.of_outputs)

    @cached_property
    def notebook_reruns(self) -> Reruns:
        """Further passes as the notebook of the NormXLogit paper makes them."""
        return self._forward.reruns(
            self.asked, self._foils, self._readout.of_outputs, NotebookReruns
        )

    def conservative(self, last: int) -> Reruns:
        """Further passes that are differentiated through so many of the last blocks."""
        kind = partial(LRPReruns, blocks=self.blocks, depth=self.depth, last=last)
        return self._forward.reruns(self.asked, self._foils, self._readout.of_outputs, kind)

    @property
    def hides_what_follows(self) -> bool:
        """Whether the state at a position rests on no other tokens than those up to it."""
        return not self._forward.captured.reads_decoder and self._forward.hides_what_follows

    def read_weights(self) -> Tensor:
        """How much of a target's output is read at each position: all of it at one, or equal parts
        where the head pools; float32 [rows, targets or 1, sequence], see `Reruns` for rows.
        """
        return self._forward.read_weights(self.asked)

    def of_rows(self, scores: Tensor) -> Tensor:
        """Scores of the rows of `reruns`, [rows, targets, ..., sequence], as those of this batch,
        [batch, targets, ..., sequence]: the same but for multiple choice, where choices are rows.
        """
        captured = self._forward.captured
        if captured.choices is None:
            return scores
        chosen = self.asked.ids.clamp_min(0)
        rows = torch.arange(len(chosen), device=chosen.device)[:, None]
        return scores.reshape(-1, captured.choices, *scores.shape[2:])[rows, chosen]

    @cached_property
    def values(self) -> Tensor:
        """The readout of HoT(x_i) for each target, less that of the foil if there is a contrast.

        float32 [batch, targets, layers, sequence], nan at what took no part.
        """
        self._reads_layers = self._reads_states = True
        if self._foils is None:
            return self._read(self.asked.ids)
        count = self.asked.ids.shape[1]
        both = self._read(torch.cat([self.asked.ids, self._foils.expand(-1, count)], 1))
        return both[:, :count] - both[:, count:]

    @property
    def reads_head(self) -> bool:
        """Whether `values` were asked for."""
        return "values" in self.__dict__

    @property
    def reads_layers(self) -> bool:
        """Whether anything of the layers that are read was asked for."""
        return self._reads_layers

    @property
    def reads_states(self) -> bool:
        """Whether anything of the positions of hidden states was asked for."""
        return self._reads_states

    def norms(self, kind: str = "embedding") -> Tensor:
        """`ForwardPass.norms` to multiply `values` with, [batch, targets or 1, 1, sequence]."""
        self._reads_states = True
        return self._forward.of_targets(self._forward.norms(kind), self.asked)[:, :, None]

    def state_norms(self) -> Tensor | None:
        """||x_i^l||_2 of the layers that were asked for, as the head would read them, [batch,
        targets or 1, layers, sequence]; None if none were asked for.
        """
        forward = self._forward
        if not forward.names_layers:
            return None
        self._reads_layers = self._reads_states = True
        norms = [
            forward.of_targets(norms_of(state).reshape(forward.mask.shape), self.asked)
            for state in forward.states
        ]
        return torch.stack(norms, 2)

    def _read(self, ids: Tensor) -> Tensor:
        forward = self._forward
        mask = self.mask if self.mask.shape[1] in (1, ids.shape[1]) else self.mask.repeat(1, 2, 1)
        values = forward.values(ids, self._readout).masked_fill(~mask[:, :, None], torch.nan)
        if self._readout.finish is None:
            return values
        own = forward.prediction.float().gather(1, ids)[:, :, None, None]
        return self._readout.finish(values, own)
