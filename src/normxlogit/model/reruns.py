"""Further passes over a batch: the number that is explained, as a function of the model's inputs.

For methods that need more than one forward pass. They run on a clone of the model, so that hooks
and gradients stay off the user's own.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from normxlogit.errors import ModelError, NormXLogitError, OptionError, UnsupportedHeadError
from normxlogit.model.clone import Anatomy, ModelClone
from normxlogit.model.numerics import allowance, at_least_common
from normxlogit.model.outputs import logits_of, run_model
from normxlogit.model.positions import Part
from normxlogit.model.readouts import Objective
from normxlogit.model.vocabulary import Vocabulary
from normxlogit.model.word_embeddings import EmbeddingHook, word_embeddings

AT_ONCE = 2048
"""How many tokens run together in one pass."""

LOGITS_AT_ONCE = 1 << 24
"""How many logits over a vocabulary one pass may give."""


class Reruns:
    """A model that is run again on variants of a batch's rows.

    Attributes:
        ids: the tokens, int64 [rows, sequence]; for encoder-decoders that generate, the source's
            and then the decoder's. In multiple choice every choice is a row.
        mask: which of them are not padding, bool [rows, sequence].
        objective: the number that is explained, as a function of the model's output.
        targets: how many numbers are explained for each row.
        place: where gradients are taken.
    """

    place = "its word embeddings"

    def __init__(
        self,
        model: PreTrainedModel,
        inputs: Mapping[str, Any],
        ids: Tensor,
        mask: Tensor,
        parts: Sequence[Part],
        objective: Objective,
        expected: Tensor | None,
        width: Callable[[], Tensor | None] = lambda: None,
    ) -> None:
        """Prepare to run a model.

        Args:
            model: it is not changed.
            inputs: the arguments of its forward.
            ids, mask: the tokens in these, see the class; in multiple choice [batch, choices,
                sequence].
            parts: which of `inputs` hold them.
            objective: the number that is explained.
            expected: its values for the unchanged rows, [rows, targets], if they are known: what
                the passes are checked against.
            width: gives the range of the objective over a row's tokens, [rows, targets], if it is
                known: what differences are held against.
        """
        self._model, self._parts, self.objective = model, parts, objective
        self.ids, self.mask = ids.flatten(0, -2), mask.flatten(0, -2)
        self._has_choices = ids.dim() == 3
        self._inputs = {
            key: value.flatten(0, 1)[:, None]
            if self._has_choices and isinstance(value, Tensor) and value.dim() > 1
            else value
            for key, value in inputs.items()
        }
        self._rows = len(self.ids)
        self.targets = objective.ids.shape[1]
        self._expected, self._width = expected, cache(width)

    @property
    def all_rows(self) -> Tensor:
        """The numbers of all rows, int64 [rows]."""
        return torch.arange(self._rows, device=self.ids.device)

    @property
    def at_once(self) -> int:
        """How many variants run together."""
        many = AT_ONCE // self.ids.shape[1]
        if self._vocabulary is not None:
            many = min(many, LOGITS_AT_ONCE // (self.targets * max(1, self._vocabulary.size)))
        return max(1, many)

    def batches(self, variants: int) -> Iterator[slice]:
        """Slices of variants that run together."""
        return (slice(start, start + self.at_once) for start in range(0, variants, self.at_once))

    def values(
        self, rows: Tensor, *, ids: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Explain variants of rows: the objective's value for each.

        Args:
            rows: the row that each is a variant of, int64 [variants].
            ids: their tokens, int64 [variants, sequence]; the rows' own if not given.
            mask: which of them the model may read, bool [variants, sequence]; likewise.

        Returns:
            float32 [variants, targets].
        """
        parts = []
        with differentiable(False):
            for some in self.batches(len(rows)):
                changed = (None if value is None else value[some] for value in (ids, mask))
                parts.append(self._run(rows[some], *changed))
        values = torch.cat(parts)
        if not values.isfinite().all():
            raise ModelError(
                f"{type(self._model).__name__} gave logits that are not finite numbers for a "
                "variant of its inputs, so what that changes cannot be told."
            )
        return values

    @cached_property
    def original(self) -> Tensor:
        """The objective's value for the unchanged rows, float32 [rows, targets]."""
        values = self.values(self.all_rows)
        self.check(values, self.all_rows)
        return values

    @cached_property
    def embeddings(self) -> Tensor:
        """The word embeddings of all tokens as the model looks them up, [rows, sequence, width].

        Raises:
            UnsupportedHeadError: the model does not look them up one by one.
        """
        parts = []
        with differentiable(False):
            for some in self.batches(self._rows):
                rows = self.all_rows[some]
                with self._lookup(rows, None) as lookup:
                    self._run(rows)
                parts.append(torch.cat(lookup.leaves, 1))
        return torch.cat(parts)

    def embedding_of(self, token: int) -> Tensor:
        """The word embedding of a token as the model looks it up, [width].

        Raises as `embeddings`.
        """
        first_token = int(self.mask[0].int().argmax())
        with differentiable(False):
            row = self.all_rows[:1]
            ids = self.ids[:1].clone()
            ids[0, first_token] = token
            with self._lookup(row, None, ids) as lookup:
                self._run(row, ids)
            return torch.cat(lookup.leaves, 1)[0, first_token]

    def values_of_embeddings(self, embeddings: Tensor, rows: Tensor) -> Tensor:
        """Explain rows with other word embeddings: the objective's value for each.

        Args:
            embeddings: [variants, sequence, width]; gradients flow back to them where autograd is
                on.
            rows: the row that each is a variant of, int64 [variants].

        Returns:
            float32 [variants, targets].
        """
        with self._lookup(rows, embeddings):
            return self._run(rows)

    def gradients(self, reduce: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """The gradients of the objective with respect to the vectors at `place`, reduced.

        Args:
            reduce: takes gradients and vectors, both [rows, sequence, width] in float32, and
                gives [rows, sequence].

        Returns:
            float32 [rows, targets, sequence].

        Raises:
            UnsupportedHeadError: the model has no such gradients.
        """
        parts = []
        with differentiable(True):
            for some in self.batches(self._rows):
                rows = self.all_rows[some]
                values, leaves = self._values_and_leaves(rows)
                embeddings = torch.cat(leaves, 1).detach().float()
                reduced = [
                    reduce(self._gradient(values[:, n].sum(), leaves), embeddings)
                    for n in range(self.targets)
                ]
                parts.append(torch.stack(reduced, 1))  # [rows, targets, sequence]
        return torch.cat(parts)

    @contextmanager
    def differentiating(self) -> Iterator[None]:
        """Inside, errors of autograd are reported as a model without gradients."""
        try:
            yield
        except (torch.OutOfMemoryError, NormXLogitError):
            raise
        except Exception as error:
            raise UnsupportedHeadError(
                f"{type(self._model).__name__} has no gradient at {self.place} "
                f"({type(error).__name__}: {error}). method='occlusion' needs none."
            ) from error

    def check_token(self, token: int) -> None:
        """Raise `OptionError` for an id that no token has."""
        words: Any = self._model.get_input_embeddings()
        size = getattr(words, "num_embeddings", None)
        if size is not None and not 0 <= token < size:
            raise OptionError(f"there is no token {token}; ids go from 0 to {size - 1}.")

    def unpadded(self, row: int) -> tuple[dict[str, Any], Tensor]:
        """One row without its padding.

        Returns:
            The model's inputs for a batch of one, and the positions of its tokens, int64 [tokens].
        """
        kept = self.mask[row].nonzero().flatten()
        width = self.mask.shape[1]
        inputs = {}
        for key, value in self._inputs.items():
            if isinstance(value, Tensor) and value.shape[:1] == (self._rows,):
                value = value[row : row + 1]
                if value.dim() > 1 and value.shape[-1] == width:
                    value = value[..., kept]
            inputs[key] = value
        return inputs, kept

    def clone(self) -> ModelClone:
        """A new clone of the model that shares no module with it."""
        with differentiable(False):
            return self._prepared(ModelClone(Anatomy.of(self._model), frozen=True))

    def run_clone(self, clone: ModelClone, row: int, **flags: Any) -> tuple[ModelOutput, Tensor]:
        """Run a clone that may have been changed on one row without its padding.

        Args:
            clone: from `clone`.
            row: which row.
            **flags: further arguments of its forward.

        Returns:
            Its output, and the positions of the row's tokens, int64 [tokens].

        Raises:
            UnsupportedHeadError: it cannot run, or gives another output than the model; or it is
                an encoder-decoder.
        """
        model, objective, rows = self._model, self.objective, self.all_rows[row : row + 1]
        name, (inputs, kept) = type(model).__name__, self.unpadded(row)
        # Without padding a position moves down by the number of padding positions before it.
        positions, span = (
            None if padded is None else (kept < padded[..., None]).sum(-1)
            for padded in (objective.positions, objective.span)
        )
        vocabulary = Vocabulary.of(model, Anatomy.of(model), clone)
        try:
            with ExitStack() as stack:
                if vocabulary is not None and positions is not None:
                    stack.enter_context(vocabulary.reading(positions[rows]))
                outputs = run_model(clone.root, inputs, **flags)
        except (torch.OutOfMemoryError, UnsupportedHeadError):
            raise
        except Exception as error:
            raise UnsupportedHeadError(
                f"{name} could not be run on one row with {flags or 'another attention function'}: "
                f"{type(error).__name__}: {error}. method='normxlogit' needs no such pass."
            ) from error
        if model.config.is_encoder_decoder or "encoder_last_hidden_state" in outputs:
            raise UnsupportedHeadError(
                f"{name} has an encoder and a decoder, and what its tokens take from each other "
                "goes by three kinds of attention, which do not make one map. method='normxlogit' "
                "serves it."
            )
        logits = logits_of(outputs, 1 if self._has_choices else None)
        assert logits is not None
        gathered = vocabulary is not None and positions is not None and vocabulary.called
        values = replace(objective, positions=positions, span=span)(logits, rows, gathered=gathered)
        expected = self.original[row] if self._expected is None else self._expected[row]
        if not self.agree(values, expected[None], rows, logits.dtype):
            raise UnsupportedHeadError(
                f"{name} says {values[0, :3].tolist()} of row {row} without padding"
                f"{' or with another attention function' if not flags else ''}, and said "
                f"{expected[:3].tolist()} of it before, so what its tokens take from each other is "
                "not known. Give it rows without padding, or position_ids if it needs them; "
                "method='normxlogit' needs no such pass."
            )
        return outputs, kept

    @cached_property
    def _clone(self) -> ModelClone:
        return self.clone()

    @cached_property
    def _vocabulary(self) -> Vocabulary | None:
        return Vocabulary.of(self._model, Anatomy.of(self._model), self._clone)

    def _prepared(self, clone: ModelClone) -> ModelClone:
        if getattr(self._model.config.get_text_config(), "pad_token_id", None) is None:
            clone.set_pad_token_id(-1)
        return clone

    def _run(self, rows: Tensor, ids: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        inputs = {
            key: value[rows]
            if isinstance(value, Tensor) and value.shape[:1] == (self._rows,)
            else value
            for key, value in self._inputs.items()
        }
        for prefix, part in self._parts:
            changed = {"input_ids": ids, "attention_mask": None if mask is None else mask.long()}
            for name, value in changed.items():
                if value is not None:
                    value = value[:, part]
                    inputs[prefix + name] = value[:, None] if self._has_choices else value
        model, positions, vocabulary = self._model, self.objective.positions, self._vocabulary
        try:
            with ExitStack() as stack:
                if vocabulary is not None and positions is not None:
                    stack.enter_context(vocabulary.reading(positions[rows].clamp_min(0)))
                outputs = run_model(self._clone.root, inputs)
        except (torch.OutOfMemoryError, UnsupportedHeadError):
            raise
        except Exception as error:
            raise ModelError(
                f"{type(model).__name__} could not run on a variant of its inputs: "
                f"{type(error).__name__}: {error}"
            ) from error
        logits = logits_of(outputs, 1 if self._has_choices else None)
        assert logits is not None
        gathered = vocabulary is not None and positions is not None and vocabulary.called
        return self.objective(logits, rows, gathered=gathered)

    def _values_and_leaves(self, rows: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The objective of unchanged rows, and the vectors at `place` that it depends on."""
        with self._lookup(rows, None) as lookup:
            values = self._run(rows)
        self.check(values.detach(), rows)
        return values, lookup.leaves

    def check(self, values: Tensor, rows: Tensor) -> None:
        """Raise `UnsupportedHeadError` if unchanged rows no longer give what they gave.

        Args:
            values: the objective's values for these rows, [rows, targets].
            rows: int64 [rows].
        """
        if self._expected is None:
            return
        expected = self._expected[rows].to(values.device)
        if not self.agree(values, expected, rows):
            now, before = (side.flatten()[:3].tolist() for side in (values, expected))
            raise UnsupportedHeadError(
                f"{type(self._model).__name__} gave {now} where it gave {before} before, for the "
                "same inputs, so what other inputs change cannot be told. method='normxlogit' "
                "needs one pass only."
            )

    def agree(
        self,
        values: Tensor,
        expected: Tensor,
        rows: Tensor,
        dtype: torch.dtype = torch.float32,
    ) -> bool:
        """Whether values of the objective are equal up to rounding.

        Args:
            values, expected: [variants, targets].
            rows: the row that each is a variant of, int64 [variants].
            dtype: the one whose rounding counts.
        """
        within = self.allowed(expected, rows, dtype)
        return bool(((values - expected).abs() <= within)[self.objective.ids[rows] >= 0].all())

    def allowed(self, expected: Tensor, rows: Tensor, dtype: torch.dtype) -> Tensor:
        """The largest difference to the objective that rounding may make; all as in `agree`."""
        width, size = self._width(), expected.abs()
        if width is None:
            # Of each row by itself: others may be in thousands.
            size = at_least_common(size)
            return allowance(size, size, dtype)
        return allowance(width[rows.to(width.device)].to(expected.device), size, dtype)

    def _gradient(self, value: Tensor, leaves: Sequence[Tensor]) -> Tensor:
        """[rows, sequence, width] in float32."""
        with self.differentiating():
            # The graph of all targets is one, so it stays until the last of them.
            gradients = torch.autograd.grad(value, leaves, retain_graph=self.targets > 1)
        gradient = torch.cat(gradients, 1).float()
        check_finite(gradient)
        return gradient

    @contextmanager
    def _lookup(
        self, rows: Tensor, embeddings: Tensor | None, ids: Tensor | None = None
    ) -> Iterator["EmbeddingHook"]:
        """Inside, the word embeddings of rows, or of other `ids`, are replaced, or noted."""
        model, ids = self._model, self.ids[rows] if ids is None else ids
        lookup = EmbeddingHook(ids, [part for _, part in self._parts], embeddings)
        handles = [
            self._clone.of[module].register_forward_hook(lookup, with_kwargs=True)
            for module in word_embeddings(model, Anatomy.of(model))
        ]
        try:
            yield lookup
        finally:
            for handle in handles:
                handle.remove()
        lookup.check(type(model).__name__)


def check_finite(values: Tensor) -> None:
    """Raise `ModelError` for gradients that are not numbers."""
    if not values.isfinite().all():
        raise ModelError(
            "the gradients are not finite numbers, by an overflow in half precision most likely: "
            "load the model with dtype=float32."
        )


@contextmanager
def differentiable(gradients: bool = True) -> Iterator[None]:
    """Leave inference mode, whose tensors take no part in gradients."""
    with torch.inference_mode(False), torch.set_grad_enabled(gradients):
        yield
