"""The input of a method: a forward pass, and what to explain of it."""

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor, nn

from normxlogit.data.option_checks import one_of
from normxlogit.errors import OptionError
from normxlogit.methods.catalogue import Reads
from normxlogit.model.forward import ForwardPass
from normxlogit.model.numerics import norms_of, wide
from normxlogit.model.readouts import READOUTS
from normxlogit.model.reruns import Reruns
from normxlogit.model.targets import Problem, TargetIds
from normxlogit.text.token_lookup import TokenLookup

_ORDER: tuple[Reads, ...] = ("inputs", "states", "head")


class MethodContext:
    """A forward pass and what to explain of it.

    Attributes:
        targets: the outputs to explain.
        ids: the token ids, [batch, targets or 1, sequence]; None for images and audio.
        mask: which positions took part in the output, bool [batch, targets or 1, sequence].
        lookup: the tokenizer's knowledge of the tokens.
        foils: outputs whose readout is subtracted, int64 [batch, 1]; None without a contrast.
        readout: the name of the readout.
    """

    def __init__(
        self,
        forward: ForwardPass,
        targets: TargetIds,
        foils: Tensor | None,
        readout: str,
        lookup: TokenLookup,
        reads: Reads = "head",
    ) -> None:
        """Open a forward pass to a method.

        Args:
            forward: the forward pass.
            targets: the outputs to explain.
            foils: outputs whose readout is subtracted, int64 [batch, 1].
            readout: the readout of HoT(x_i), by name.
            lookup: the tokenizer's knowledge of the tokens.
            reads: how much the method is registered to read; reading more is an error.
        """
        self.targets, self.lookup = targets, lookup
        self.foils, self.readout = foils, readout
        self.ids = None if forward.ids is None else forward.of_targets(forward.ids, targets)
        self.mask = forward.seen(targets)
        self._forward = forward
        self._readout = READOUTS[forward.problem][readout]
        # Results tell by it which positions scores belong to and whether they have a readout.
        self._reads = reads

    @property
    def problem(self) -> Problem:
        """What the model's outputs mean."""
        return self._forward.problem

    @property
    def reads_decoder(self) -> bool:
        """Whether the positions are those of an encoder-decoder's decoder."""
        return self._forward.captured.reads_decoder

    @property
    def outputs(self) -> Tensor:
        """The model's own output, [batch, outputs]."""
        return self._forward.prediction

    def layer(self, number: int) -> tuple[Tensor, ...] | None:
        """What the method `keeps` of the output of block `number`; 0 is the first block's input.

        None if it did not declare that, or the output does not stand one to a token.
        """
        self._check_reads("states")
        return self._forward.captured.states.layer(number)

    @property
    def layers(self) -> list[int]:
        """The numbers of the layers to read, from 1."""
        self._check_reads("states")
        return self._forward.layers

    @property
    def depth(self) -> int:
        """The number of layers of the model."""
        return self._forward.captured.depth

    @property
    def blocks(self) -> nn.Module | None:
        """The model's own list of blocks, if one was seen; `ModelClone.of` maps it to a clone's."""
        # The pass ran on a clone, whose list was seen; another clone knows the model's own only.
        captured = self._forward.captured
        stack, copies = captured.states.stack, captured.clone.of.items()
        return None if stack is None else next(m for m, twin in copies if twin is stack.blocks)

    @cached_property
    def reruns(self) -> Reruns:
        """Further passes of the model over variants of these inputs.

        Raises:
            UnsupportedHeadError: the inputs are not tokens.
        """
        return self.reruns_by(Reruns)

    def reruns_by(self, kind: Callable[..., Reruns]) -> Reruns:
        """Return further passes of a method's own kind; `kind` takes the arguments of `Reruns`."""
        return self._forward.reruns(self.targets, self.foils, self._readout.of_outputs, kind)

    @property
    def hides_what_follows(self) -> bool:
        """Whether the state at a position depends on no token after it."""
        return not self._forward.captured.reads_decoder and self._forward.hides_what_follows

    def read_weights(self) -> Tensor:
        """Return the weight of each position in the head's reading of a target.

        One-hot over the position the head reads; uniform over tokens if it pools. float32 [rows,
        targets or 1, sequence], where each choice of multiple choice is a row, as in `Reruns`.
        """
        return self._forward.read_weights(self.targets)

    def of_rows(self, scores: Tensor) -> Tensor:
        """Turn scores of the rows of `reruns` into scores of the batch.

        [rows, targets, ..., sequence] -> [batch, targets, ..., sequence]. They differ for multiple
        choice only, where each choice is a row and the target's row is taken.
        """
        captured = self._forward.captured
        if captured.choices is None:
            return scores
        # [batch * choices, 1, ...] -> [batch, choices, ...] -> [batch, targets, ...]
        chosen = self.targets.ids.clamp_min(0)
        rows = torch.arange(len(chosen), device=chosen.device)[:, None]
        return scores.reshape(-1, captured.choices, *scores.shape[2:])[rows, chosen]

    @cached_property
    def values(self) -> Tensor:
        """The readout of HoT(x_i) for each target, minus that of the foil if there is a contrast.

        float32 [batch, targets, layers, sequence], nan at positions that took no part.
        """
        self._check_reads("head")
        if self.foils is None:
            return self._read(self.targets.ids).float()
        # Targets and foils in one pass of the head: [batch, 2 * targets, layers, sequence].
        count = self.targets.ids.shape[1]
        both = self._read(torch.cat([self.targets.ids, self.foils.expand(-1, count)], 1))
        return (both[:, :count] - both[:, count:]).float()

    def norms(self, kind: str = "embedding") -> Tensor:
        """Return `ForwardPass.norms`, shaped to multiply `values`: [batch, targets or 1, 1,
        sequence].
        """
        self._check_reads("states")
        one_of("norm", kind, ("embedding", "word"))
        return self._forward.of_targets(self._forward.norms(kind), self.targets)[:, :, None]

    def state_norms(self) -> Tensor | None:
        """Return ||x_i^l||_2 for the layers asked for, of the states as the head would read them.

        [batch, targets or 1, layers, sequence]; None if no layer was asked for.
        """
        self._check_reads("states")
        forward = self._forward
        if not forward.names_layers:
            return None
        norms = [
            forward.of_targets(norms_of(state).reshape(forward.mask.shape), self.targets)
            for state in forward.states
        ]
        return torch.stack(norms, 2)

    def _read(self, ids: Tensor) -> Tensor:
        forward = self._forward
        # A mask for each target is repeated for the foils, which follow the targets in `ids`:
        # [batch, targets, sequence] -> [batch, 2 * targets, sequence].
        mask = self.mask if self.mask.shape[1] in (1, ids.shape[1]) else self.mask.repeat(1, 2, 1)
        values = forward.values(ids, self._readout).masked_fill(~mask[:, :, None], torch.nan)
        if self._readout.finish is None:
            return values
        predicted = wide(forward.prediction).gather(1, ids)[:, :, None, None]
        return self._readout.finish(values, predicted)

    def _check_reads(self, needed: Reads) -> None:
        if _ORDER.index(self._reads) < _ORDER.index(needed):
            raise OptionError(
                f"this method is registered with reads={self._reads!r} and reads more than that. "
                f"Register it with reads={needed!r}."
            )
