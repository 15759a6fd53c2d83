"""The head on top of every token: HoT(x_i), by the model's own forward on one token at a time.

The clone's trunk is made to return given hidden states at once, and the model's own forward runs on
from there: whatever stands on the trunk (pooler, dropout, classifier) does what it does in the
model, with no code for an architecture. Given each token as a sequence of length one, it returns
the head's output on that token (Abbasi et al., NormXLogit, EMNLP 2025).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.utils.generic import ModelOutput

from normxlogit.errors import UnsupportedHeadError
from normxlogit.model.capture import Capture
from normxlogit.model.heads.spread import Spread
from normxlogit.model.outputs import LayerError, OnlyLast, counting, logits_of, maker_of, run_model
from normxlogit.model.trace import TracedOps

AT_ONCE = 1 << 24
"""How many numbers a chunk of replayed hidden states or logits may hold."""

OnTokens = Callable[[Tensor, Tensor], Tensor]
"""Takes states [tokens, hidden] and their rows, int64 [tokens]; returns [tokens, outputs]."""

WAY_OUT = "A perturbation method is the way to explain it."


class NoOutputError(UnsupportedHeadError):
    """A head that cannot be put on a token at all."""


@dataclass(frozen=True)
class TrunkOutput:
    """Makes what a trunk would return if its final hidden states were others.

    Attributes:
        returns: makes fields into what the trunk returned.
        derived, layered: see `Capture`.
    """

    returns: Callable[..., Any]
    derived: Mapping[str, TracedOps]
    layered: Mapping[str, tuple[int, bool]]

    @classmethod
    def of(cls, captured: Capture) -> "TrunkOutput":
        """Take what is known of a captured trunk."""
        return cls(captured.trunk_returns, captured.derived(), captured.layered)

    def __call__(self, hidden: Tensor, *, position: int | None = None) -> Any:
        """Return the output for states [rows, sequence, hidden]; `position` as in `TracedOps`."""
        # Only tensors that can be recomputed from the states are returned beside them; a head that
        # reads any other finds None and fails, rather than read those of the first pass.
        fields: dict[str, Any] = {"last_hidden_state": hidden}
        for key, derived in self.derived.items():
            fields[key] = derived(hidden, position=position)
        for key, (count, ends_in_last) in self.layered.items():
            fields[key] = OnlyLast(key, count, hidden if ends_in_last else None)
        return self.returns(**fields)


class Replay:
    """The model's own forward, from given final hidden states on.

    Attributes:
        name: the model's class.
        features: the names of inputs beside the text, with numbers for each row.
    """

    def __init__(self, captured: Capture) -> None:
        self._captured = captured
        self.name = type(captured.clone.root).__name__
        self.features = [
            key for key, value in captured.inputs.items() if self._is_feature(key, value)
        ]

    def spread(self, outputs: Tensor, mask: Tensor) -> Spread:
        """How far HoT lies apart: [rows, sequence, outputs], bool [rows, sequence]."""
        return Spread.of(
            outputs, mask, self._captured.logits.dtype, self._captured.states.raw.dtype
        )

    def whole(self, tokens: Tensor, *, rows: Tensor | None = None, towers: float = 1.0) -> Tensor:
        """The model's output for its own inputs with other x^L, [rows, sequence, hidden].

        Args:
            tokens: the other x^L.
            rows: the rows that they are variants of, int64; all in turn if not given.
            towers: what the output of the sub-models that ran before the trunk is multiplied by.
        """
        raw = self._captured.states.raw
        hidden = tokens if raw.dim() == 3 else tokens.mT.reshape(raw.shape)
        inputs = self._captured.inputs if rows is None else self._inputs_of(rows)
        return self._run(hidden, inputs, towers=towers)

    def alone(self, vectors: Tensor, rows: Tensor, *, features: bool = False) -> Tensor:
        """The output for each token as a sequence of length one.

        Args:
            vectors: the tokens' states, [tokens, hidden].
            rows: the rows that they are from, int64 [tokens].
            features: give the head the `features` of these rows.
        """
        raw = self._captured.states.raw
        hidden = vectors[:, None] if raw.dim() == 3 else vectors[:, :, None, None]
        inputs = self.stand_ins(len(vectors), 1)
        if features:
            inputs |= self._features_of(rows)
        outputs = self._run(hidden, inputs, position=0)
        if outputs.dim() == 3 and outputs.shape[1] == 1:
            outputs = outputs[:, 0]
        if outputs.dim() != 2 or len(outputs) != len(vectors):
            raise NoOutputError(
                f"the head of {self.name} gave {list(outputs.shape)} for {len(vectors)} tokens, "
                f"not one output a token. {WAY_OUT}"
            )
        return outputs

    def on_tokens(self, hidden: Tensor, of_each: OnTokens | None = None) -> Tensor:
        """HoT of every token: [rows, sequence, hidden] -> [rows, sequence, outputs].

        Args:
            hidden: the tokens' states.
            of_each: how the head is put on a token; `alone` if not given.
        """
        rows = torch.arange(len(hidden), device=hidden.device).repeat_interleave(hidden.shape[1])
        logits = (of_each or self.alone)(hidden.flatten(0, 1), rows)
        return logits.reshape(*hidden.shape[:2], -1)

    def repeated(self, vectors: Tensor, rows: Tensor) -> Tensor:
        """The output for each token at every position of a sequence; arguments as `alone`."""
        raw, outputs = self._captured.states.raw, []
        size = max(1, AT_ONCE // raw[0].numel())
        for part, owners in zip(torch.split(vectors, size), torch.split(rows, size), strict=True):
            if raw.dim() == 3:
                hidden = part[:, None].expand(-1, raw.shape[1], -1)
            else:
                hidden = part[:, :, None, None].expand(-1, -1, *raw.shape[2:])
            inputs = self.stand_ins(len(part), raw.shape[1])
            inputs |= self._features_of(owners)
            outputs.append(self._run(hidden, inputs))
        return torch.cat(outputs)

    def check(self, excess: Tensor) -> None:
        """Raise `UnsupportedHeadError` if an output is not the model's own.

        Args:
            excess: differences, as multiples of what rounding may make.
        """
        if not (largest := excess.amax()) <= 1:
            raise UnsupportedHeadError(
                f"the head of {self.name}, replayed on the final hidden states, does not give the "
                f"model's own output (it is off by {float(largest):.1e} times what rounding may "
                f"make): it reads something besides them. {WAY_OUT}"
            )

    def check_trunk(self, excess: Tensor) -> None:
        """Raise `UnsupportedHeadError` if an output changes with what other sub-models give.

        Args:
            excess: the differences that changing them makes, as `check`.
        """
        if not excess.amax() <= 1:
            parts = [*(module for module, _ in self._captured.towers), self._captured.trunk]
            names = ", ".join(type(part).__name__ for part in parts)
            raise UnsupportedHeadError(
                f"the head of {self.name} reads what {len(parts)} sub-models give ({names}), and "
                "scores would be those of the last alone. Explain the sub-models that are models "
                f"of their own one by one. {WAY_OUT}"
            )

    @property
    def has_towers(self) -> bool:
        """Whether sub-models ran before the trunk."""
        return bool(self._captured.towers)

    def _is_feature(self, key: str, value: Any) -> bool:
        captured = self._captured
        rows = len(captured.states.raw)
        return (
            isinstance(value, Tensor)
            and value.dim() > 0
            and len(value) * (captured.choices or 1) == rows
            and (value.is_floating_point() or value.dim() == 1)
            and not self._is_media(key, value)
            and not key.endswith(("mask", "embeds"))
        )

    def _is_media(self, key: str, value: Tensor) -> bool:
        """Whether an input is images or audio, which the trunk alone reads."""
        is_main = key == self._captured.clone.root.main_input_name
        return value.is_floating_point() and (is_main or value.dim() > 3)

    def _inputs_of(self, rows: Tensor) -> dict[str, Any]:
        """The model's inputs for variants of rows."""
        captured = self._captured
        batch = len(captured.states.raw) // (captured.choices or 1)
        inputs = dict(captured.inputs)
        for key, value in inputs.items():
            if isinstance(value, Tensor) and value.shape[:1] == (batch,):
                if self._is_media(key, value):  # need not be copied
                    inputs[key] = value[:1].expand(len(rows), *value.shape[1:])
                else:
                    inputs[key] = self._of_rows(value, rows)
        return inputs

    def _of_rows(self, value: Tensor, rows: Tensor) -> Tensor:
        """An input for variants of rows; in multiple choice each is an example of one choice."""
        choices, rows = self._captured.choices, rows.to(value.device)
        if choices is None:
            return value[rows]
        if value.shape[1:2] == (choices,):
            return value.flatten(0, 1)[rows][:, None]
        return value[rows // choices]

    def _run(
        self,
        hidden: Tensor,
        inputs: dict[str, Any],
        *,
        position: int | None = None,
        towers: float = 1.0,
    ) -> Tensor:
        captured = self._captured
        try:
            output = TrunkOutput.of(captured)(hidden, position=position)
            choices = None if captured.choices is None else 1
            with ExitStack() as answers:
                beside = [(tower, _scaled(states, towers)) for tower, states in captured.towers]
                for module, returned in (*beside, (captured.trunk, output)):
                    answers.enter_context(_answering(module, returned))
                answers.enter_context(counting(None))  # the head alone is no pass
                logits = logits_of(run_model(captured.clone.root, inputs), choices)
            if logits is None:
                raise TypeError("it returned no logits")
        except torch.OutOfMemoryError:
            raise
        except LayerError as error:
            raise UnsupportedHeadError(
                f"the head of {self.name} reads {error}, the states of other layers than the last, "
                f"so its output is not a function of one token's final representation. {WAY_OUT}"
            ) from error
        except Exception as error:
            raise NoOutputError(
                f"the head of {self.name} could not be run on its final hidden states alone "
                f"({type(error).__name__}: {error}). It reads something besides them. {WAY_OUT}"
            ) from error
        return logits

    def _features_of(self, rows: Tensor) -> dict[str, Any]:
        inputs = self._captured.inputs
        return {key: self._of_rows(inputs[key], rows) for key in self.features}

    def stand_ins(self, rows: int, length: int) -> dict[str, Any]:
        """Inputs for rows of other tokens than the model's own, of any text.

        Heads look at ids although they do not embed them: for eos (BART) and padding (Llama).
        """
        captured = self._captured
        config = captured.clone.root.config.get_text_config()
        eos = getattr(config, "eos_token_id", None)
        eos = eos[0] if isinstance(eos, list) else eos
        device = captured.states.raw.device
        shape = (rows, length) if captured.choices is None else (rows, 1, length)
        ids = torch.full(shape, eos or 0, device=device)
        inputs: dict[str, Any] = {}
        for key, value in captured.inputs.items():
            if not isinstance(value, Tensor):
                inputs[key] = value
            elif key in ("input_ids", "decoder_input_ids"):
                inputs[key] = ids
                inputs[key.replace("input_ids", "attention_mask")] = torch.ones_like(ids)
            elif key == "global_attention_mask":
                inputs[key] = torch.zeros_like(ids)
            elif key == captured.clone.root.main_input_name:
                inputs[key] = value[:1].expand(rows, *value.shape[1:])
        return inputs


def _scaled(output: ModelOutput, factor: float) -> Any:
    """An output whose floating-point tensors are multiplied by a factor."""
    if factor == 1:
        return output

    def scaled(value: Any) -> Any:
        is_floating = isinstance(value, Tensor) and value.is_floating_point()
        return value * factor if is_floating else value

    return maker_of(output)(**{key: scaled(value) for key, value in output.items()})


@contextmanager
def _answering(module: nn.Module, output: Any) -> Iterator[None]:
    """Inside, a module of a clone returns `output`, whatever it is given."""
    attributes = vars(module)
    # Hooks come off too: they would see states that are not those of the traced pass.
    changed = {
        "forward": lambda *_args, **_kwargs: output,
        "_forward_hooks": {},
        "_forward_pre_hooks": {},
    }
    before = {key: attributes[key] for key in changed if key in attributes}
    attributes.update(changed)
    try:
        yield
    finally:
        del attributes["forward"]
        attributes.update(before)
