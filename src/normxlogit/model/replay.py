"""The head on top of every token: HoT(x_i), by the model's own forward on one token at a time.

The clone's trunk is made to return given hidden states at once, and the model's own forward runs on
from there: whatever stands on the trunk (pooler, dropout, classifier) does what it does in the
model, with no code for an architecture. Given each token as a sequence of length one, it returns
the head's output on that token (Abbasi et al., NormXLogit, EMNLP 2025).
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from normxlogit.errors import UnsupportedHeadError
from normxlogit.model.capture import Capture, logits_of
from normxlogit.model.numerics import gap, tolerance

AT_ONCE = 1 << 24
"""How many numbers a chunk of replayed hidden states or logits may hold."""

WAY_OUT = "A perturbation method is the way to explain it."


class Replay:
    """The model's own forward, from given final hidden states on.

    Attributes:
        name: the model's class.
        within: the relative difference up to which two outputs agree.
    """

    def __init__(self, captured: Capture) -> None:
        self._captured = captured
        self.name = type(captured.clone.root).__name__
        self.within = tolerance(captured.logits.dtype, captured.states.raw.dtype)

    def whole(self, tokens: Tensor) -> Tensor:
        """The model's output for its own inputs with other x^L, [rows, sequence, hidden]."""
        raw = self._captured.states.raw
        hidden = tokens if raw.dim() == 3 else tokens.mT.reshape(raw.shape)
        return self._run(hidden, self._captured.inputs)

    def alone(self, vectors: Tensor) -> Tensor:
        """The output for each of [tokens, hidden] as a sequence of length one."""
        raw = self._captured.states.raw
        hidden = vectors[:, None] if raw.dim() == 3 else vectors[:, :, None, None]
        outputs = self._run(hidden, self._one_token_inputs(len(vectors)), position=0)
        if outputs.dim() == 3 and outputs.shape[1] == 1:
            outputs = outputs[:, 0]
        if outputs.dim() != 2 or len(outputs) != len(vectors):
            raise UnsupportedHeadError(
                f"the head of {self.name} gave {list(outputs.shape)} for {len(vectors)} tokens, "
                f"not one output a token. {WAY_OUT}"
            )
        return outputs

    def repeated(self, vectors: Tensor) -> Tensor:
        """The output for each of [tokens, hidden] at every position of a sequence."""
        raw, outputs = self._captured.states.raw, []
        size = max(1, AT_ONCE // raw[0].numel())
        for part in torch.split(vectors, size):
            if raw.dim() == 3:
                hidden = part[:, None].expand(-1, raw.shape[1], -1)
            else:
                hidden = part[:, :, None, None].expand(-1, -1, *raw.shape[2:])
            first = {
                key: value[:1].expand(len(part), *value.shape[1:])
                if isinstance(value, Tensor) and value.shape[:1] == raw.shape[:1]
                else value
                for key, value in self._captured.inputs.items()
            }
            outputs.append(self._run(hidden, first))
        return torch.cat(outputs)

    def check(self, replayed: Tensor, expected: Tensor) -> None:
        """Raise `UnsupportedHeadError` if an output is not the model's own, [..., outputs]."""
        same_shape = replayed.shape == expected.shape
        difference = gap(replayed, expected).amax() if same_shape else torch.inf
        if not difference <= self.within:
            raise UnsupportedHeadError(
                f"the head of {self.name}, replayed on the final hidden states, does not give the "
                f"model's own output (relative difference {float(difference):.1e}): it reads "
                f"something besides them. {WAY_OUT}"
            )

    def _run(self, hidden: Tensor, inputs: dict[str, Any], position: int | None = None) -> Tensor:
        captured = self._captured
        try:
            # Only tensors that can be recomputed from the states are returned beside them; a head
            # that reads any other finds None and fails, rather than read those of the first pass.
            output = captured.trunk_returns(
                last_hidden_state=hidden,
                **{key: d(hidden, position=position) for key, d in captured.derived.items()},
            )
            choices = None if captured.choices is None else 1
            with ExitStack() as answers:
                for module, returned in (*captured.towers, (captured.trunk, output)):
                    answers.enter_context(_answering(module, returned))
                logits = logits_of(captured.clone.root(**inputs, return_dict=True), choices)
            if logits is None:
                raise TypeError("it returned no logits")
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            raise UnsupportedHeadError(
                f"the head of {self.name} could not be run on its final hidden states alone "
                f"({type(error).__name__}: {error}). It reads something besides them. {WAY_OUT}"
            ) from error
        return logits

    def _one_token_inputs(self, rows: int) -> dict[str, Any]:
        """Inputs for rows of one token.

        Heads look at ids although they do not embed them: for eos (BART) and padding (Llama).
        """
        captured = self._captured
        config = captured.clone.root.config.get_text_config()
        eos = getattr(config, "eos_token_id", None)
        eos = eos[0] if isinstance(eos, list) else eos
        device = captured.states.raw.device
        shape = (rows, 1) if captured.choices is None else (rows, 1, 1)
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
