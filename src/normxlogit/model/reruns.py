"""Further passes over a batch: what is explained, as a function of what the model is given.

For methods that one forward pass does not serve. They run on a clone of the model, so that hooks
and gradients stay off the user's own.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from normxlogit.errors import ModelError, NormXLogitError, OptionError, UnsupportedHeadError
from normxlogit.model.capture import logits_of
from normxlogit.model.clone import Anatomy, ModelClone
from normxlogit.model.numerics import agree, magnitude, tolerance
from normxlogit.model.objective import Objective
from normxlogit.model.vocabulary import Vocabulary
from normxlogit.model.word_embeddings import EmbeddingHook, word_embeddings

AT_ONCE = 2048
"""How many tokens run together in one pass."""

LOGITS_AT_ONCE = 1 << 24
"""How many logits over a vocabulary one pass may give."""

Part = tuple[str, slice]
"""What stands before `input_ids` and `attention_mask` in the names of a model's inputs ("" or
"decoder_"), and which positions of the sequence these are."""


class Reruns:
    """A model that is run again on variants of a batch's rows.

    Attributes:
        ids: the tokens, int64 [rows, sequence]; of an encoder-decoder that generates, the source's
            and then the decoder's. Of multiple choice every choice is a row.
        mask: which of them are no padding, bool [rows, sequence].
        objective: what is explained, as a function of the model's output.
        targets: how many numbers are explained of each row.
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
        known: Tensor | None,
    ) -> None:
        """Prepare to run a model.

        Args:
            model: it is not changed.
            inputs: what its forward took.
            ids, mask: the tokens in these, see the class; of multiple choice [batch, choices,
                sequence].
            parts: which of `inputs` hold them.
            objective: what is explained.
            known: its values for the rows as they are, [rows, targets], if they are known: what the
                passes are checked against.
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
        self._known = known

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
        """Which of so many variants run together."""
        return (slice(start, start + self.at_once) for start in range(0, variants, self.at_once))

    def values(
        self, rows: Tensor, *, ids: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """What is explained, of variants of rows.

        Args:
            rows: the row that each is a variant of, int64 [variants].
            ids: their tokens, int64 [variants, sequence]; those of the rows if not given.
            mask: which of them the model may read, bool [variants, sequence]; likewise.

        Returns:
            float32 [variants, targets].
        """
        found = []
        with differentiable(False):
            for some in self.batches(len(rows)):
                changed = (None if value is None else value[some] for value in (ids, mask))
                found.append(self._run(rows[some], *changed))
        values = torch.cat(found)
        if not values.isfinite().all():
            raise ModelError(
                f"{type(self._model).__name__} gave logits that are not finite numbers for a "
                "variant of its inputs, so what that changes cannot be told."
            )
        return values

    @cached_property
    def own(self) -> Tensor:
        """What is explained, of the rows as they are, float32 [rows, targets]."""
        found = self.values(self.all_rows)
        self.check(found, self.all_rows)
        return found

    @cached_property
    def embeddings(self) -> Tensor:
        """The word embeddings of all tokens as the model looks them up, [rows, sequence, width].

        Raises:
            UnsupportedHeadError: the model does not look them up one by one.
        """
        found = []
        with differentiable(False):
            for some in self.batches(self._rows):
                rows = self.all_rows[some].clone()
                with self._lookup(rows, None) as lookup:
                    self._run(rows)
                found.append(torch.cat(lookup.leaves, 1))
        return torch.cat(found)

    def embedding_of(self, token: int) -> Tensor:
        """The word embedding of a token as the model looks it up, [width].

        Raises as `embeddings`.
        """
        place = int(self.mask[0].int().argmax())
        with differentiable(False):
            row = self.all_rows[:1].clone()
            ids = self.ids[:1].clone()
            ids[0, place] = token
            with self._lookup(row, None, ids) as lookup:
                self._run(row, ids)
            return torch.cat(lookup.leaves, 1)[0, place]

    def values_of_embeddings(self, embeddings: Tensor, rows: Tensor) -> Tensor:
        """What is explained, of rows with other word embeddings.

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
        """The gradients of what is explained with respect to the vectors at `place`, reduced.

        Args:
            reduce: takes gradients and vectors, both [rows, sequence, width] in float32, and
                gives [rows, sequence].

        Returns:
            float32 [rows, targets, sequence].

        Raises:
            UnsupportedHeadError: the model has no such gradients.
        """
        found = []
        with differentiable(True):
            for some in self.batches(self._rows):
                rows = self.all_rows[some].clone()
                values, leaves = self._values_and_leaves(rows)
                embeddings = torch.cat(leaves, 1).detach().float()
                reduced = [
                    reduce(self._gradient(values[:, n].sum(), leaves), embeddings)
                    for n in range(self.targets)
                ]
                found.append(torch.stack(reduced, 1))
        return torch.cat(found)

    @contextmanager
    def differentiating(self) -> Iterator[None]:
        """Inside, errors of autograd say that the model has no gradients."""
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

    def alone(self, row: int) -> tuple[dict[str, Any], Tensor]:
        """What the model would take for one row without its padding, and which positions it has.

        Returns:
            The inputs, of a batch of one; int64 [tokens].
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
        """A new clone of the model, that shares no module with it."""
        with differentiable(False):
            return self._prepared(ModelClone(Anatomy.of(self._model), frozen=True))

    def run_clone(self, clone: ModelClone, row: int, **flags: Any) -> tuple[ModelOutput, Tensor]:
        """Run a clone, whatever was changed of it, on one row without its padding.

        Args:
            clone: from `clone`.
            row: which row.
            **flags: further arguments of its forward.

        Returns:
            Its output, and the positions of the row's tokens, int64 [tokens].

        Raises:
            UnsupportedHeadError: it cannot run, or does not say what the model said; or it is an
                encoder-decoder.
        """
        model, objective, rows = self._model, self.objective, self.all_rows[row : row + 1]
        name, (inputs, kept) = type(model).__name__, self.alone(row)
        positions, span = (
            None if places is None else (kept < places[..., None]).sum(-1)
            for places in (objective.positions, objective.span)
        )
        vocabulary = Vocabulary.of(model, Anatomy.of(model), clone)
        try:
            with ExitStack() as stack:
                if vocabulary is not None and positions is not None:
                    stack.enter_context(vocabulary.reading(positions[rows]))
                outputs: ModelOutput = clone.root(**inputs, **flags, return_dict=True)
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
        found = replace(objective, positions=positions, span=span)(logits, rows, gathered=gathered)
        expected = self.own[row] if self._known is None else self._known[row]
        within = tolerance(logits.dtype) * magnitude(logits.float())
        if not ((found[0] - expected).abs() <= within)[objective.ids[row] >= 0].all():
            raise UnsupportedHeadError(
                f"{name} says {found[0, :3].tolist()} of row {row} without padding"
                f"{' or with another attention function' if not flags else ''}, and said "
                f"{expected[:3].tolist()} of it before, so what its tokens take from each other is "
                "not known. Give it rows without padding, or position_ids if it needs them; "
                "method='normxlogit' needs no such pass."
            )
        return outputs, kept

    @cached_property
    def _shadow(self) -> ModelClone:
        return self.clone()

    @cached_property
    def _vocabulary(self) -> Vocabulary | None:
        return Vocabulary.of(self._model, Anatomy.of(self._model), self._shadow)

    def _prepared(self, clone: ModelClone) -> ModelClone:
        if getattr(self._model.config.get_text_config(), "pad_token_id", None) is None:
            clone.set_pad_token_id(-1)
        return clone

    def _run(self, rows: Tensor, ids: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        given = {
            key: value[rows]
            if isinstance(value, Tensor) and value.shape[:1] == (self._rows,)
            else value
            for key, value in self._inputs.items()
        }
        for prefix, part in self._parts:
            own = {"input_ids": ids, "attention_mask": None if mask is None else mask.long()}
            for name, value in own.items():
                if value is not None:
                    value = value[:, part]
                    given[prefix + name] = value[:, None] if self._has_choices else value
        model, positions, vocabulary = self._model, self.objective.positions, self._vocabulary
        try:
            with ExitStack() as stack:
                if vocabulary is not None and positions is not None:
                    stack.enter_context(vocabulary.reading(positions[rows].clamp_min(0)))
                outputs = self._shadow.root(**given, return_dict=True)
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
        """What is explained of rows as they are, and the vectors at `place` that it depends on."""
        with self._lookup(rows, None) as lookup:
            values = self._run(rows)
        self.check(values.detach(), rows)
        return values, lookup.leaves

    def check(self, found: Tensor, rows: Tensor) -> None:
        """Raise `UnsupportedHeadError` if the rows as they are do not give what they gave.

        Args:
            found: what is explained, of these rows, [rows, targets].
            rows: int64 [rows].
        """
        both = self._beside_known(found, rows)
        if both is not None and not agree(*both):
            now, before = (values[:3].tolist() for values in both)
            raise UnsupportedHeadError(
                f"{type(self._model).__name__} gave {now} where it gave {before} before, for the "
                "same inputs, so what other inputs change cannot be told. method='normxlogit' "
                "needs one pass only."
            )

    def _beside_known(self, found: Tensor, rows: Tensor) -> tuple[Tensor, Tensor] | None:
        """What is explained of rows, and what is known of it, both [those with a target]."""
        if self._known is None:
            return None
        taken = self.objective.ids[rows] >= 0
        return found[taken], self._known[rows].to(found.device)[taken]

    def _gradient(self, value: Tensor, leaves: Sequence[Tensor]) -> Tensor:
        """[rows, sequence, width] in float32."""
        with self.differentiating():
            found = torch.autograd.grad(value, leaves, retain_graph=self.targets > 1)
        gradient = torch.cat(found, 1).float()
        check_finite(gradient)
        return gradient

    @contextmanager
    def _lookup(
        self, rows: Tensor, embeddings: Tensor | None, ids: Tensor | None = None
    ) -> Iterator["EmbeddingHook"]:
        """Inside, word embeddings of these rows, or of others `ids`, are replaced, or noted."""
        model, ids = self._model, self.ids[rows] if ids is None else ids
        lookup = EmbeddingHook(ids, [part for _, part in self._parts], embeddings)
        handles = [
            self._shadow.of[module].register_forward_hook(lookup, with_kwargs=True)
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
    """Out of inference mode, whose tensors take no part in gradients."""
    with torch.inference_mode(False), torch.set_grad_enabled(gradients):
        yield
