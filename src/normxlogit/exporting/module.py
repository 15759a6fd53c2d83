"""A model that returns its explanation: one module whose forward gives logits and scores."""

import threading
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from normxlogit.errors import ModelError, UnsupportedHeadError
from normxlogit.exporting.head_scores import HeadScores
from normxlogit.methods.attribution_head import AttributionHead
from normxlogit.model.clone import Anatomy, ModelClone, blocks_of, unwrap
from normxlogit.model.forward import ForwardPass
from normxlogit.model.heads.pooled import PooledHead
from normxlogit.model.heads.replay import Replay, TrunkOutput
from normxlogit.model.inference import inference
from normxlogit.model.numerics import first_tensor, norms_of, wide
from normxlogit.model.outputs import logits_of, named_outputs, parameters_of
from normxlogit.model.readouts import READOUTS
from normxlogit.model.targets import Problem
from normxlogit.tasks.explainer import ModelExplainer

_PROBLEMS = (Problem.SINGLE_LABEL, Problem.MULTI_LABEL, Problem.REGRESSION)

_LOCK = threading.RLock()
"""Held by a forward that is not compiled, as its hooks note what they see in the module."""


class Explanation(NamedTuple):
    """What a model with explanations returns; at padding all scores are 0.

    Attributes:
        logits: the model's own output, [batch, labels].
        scores: by NormXLogit, float32 [batch, labels, sequence].
        readouts: the default readout of HoT(x_i), the head on every token: the logit, of a
            regression the closeness; float32 [batch, labels, sequence].
        norms: ||x_i^0||_2, float32 [batch, sequence].
        head_scores: by the attribution head, 0 at special tokens, float32 [batch, labels,
            sequence]; None without a head, as all that follow.
        head_base: what these add up from, float32 [batch, labels].
        head_distance: how far the text is from those that the head was fitted on, float32 [batch];
            above 1 it is unlike them.
    """

    logits: Tensor
    scores: Tensor
    readouts: Tensor
    norms: Tensor
    head_scores: Tensor | None = None
    head_base: Tensor | None = None
    head_distance: Tensor | None = None


def with_explanations(model: Any) -> "WithExplanations":
    """Return a module whose forward gives a classifier's logits and every token's scores.

    Args:
        model: an `Explainer`, whose attribution head, if it has one, gives scores too; or a
            transformers model that classifies or rates texts. It is not changed, and shares its
            weights with the module.

    Raises:
        ModelError: it is not such a model.
        UnsupportedHeadError: scores of this model could not be vouched for, or take more than one
            pass over single tokens.
    """
    explainer = model if isinstance(model, ModelExplainer) else None
    model = unwrap(model) if explainer is None else explainer.model
    head = None if explainer is None else explainer.head
    return WithExplanations.of(model, head, _any_tokens(model))


class WithExplanations(nn.Module):
    """A model whose forward returns an `Explanation`; it goes through torch.compile and export.

    It is always in evaluation mode, and its weights have no gradients.

    Attributes:
        model: the model as it runs here, a copy that shares the weights.
        problem: what its outputs mean.
        depth: how many layers it has.
        stack: the name of the module in it that holds its blocks.
        head: gives the scores of the attribution head; None without one.
    """

    def __init__(self, forward: ForwardPass, clone: ModelClone, head: HeadScores | None) -> None:
        """Take a checked pass and the clone that is to run; `of` makes both."""
        super().__init__()
        captured = forward.captured.on(clone)
        self.problem, self.depth, self.head = forward.problem, captured.depth, head
        self.model: Any = clone.root
        self._replay, self._answer = Replay(captured), TrunkOutput.of(captured)
        self._finish = next(iter(READOUTS[self.problem].values())).finish
        parameters = parameters_of(type(clone.root).forward)
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        settings = {k: v for k, v in captured.inputs.items() if not isinstance(v, Tensor)}
        if "return_dict" in parameters or takes_any:
            settings["return_dict"] = True
        self._settings = settings
        self._time_first = captured.states.time_first
        self._kept = frozenset(head.layers if head is not None else ())
        # What the forward under way has seen, and the states that the trunk is to answer with.
        self._zero: list[Tensor] = []
        self._outputs: list[Tensor] = []
        self._final: list[Tensor] = []
        self._given: list[Tensor] = []
        stack = forward.captured.states.stack
        assert stack is not None
        blocks = next(m for m, twin in forward.captured.clone.of.items() if twin is stack.blocks)
        names = {module: name for name, module in self.named_modules()}
        self.stack = names[clone.of[blocks]]
        for block in blocks_of(clone.of[blocks]):
            block.register_forward_pre_hook(self._on_block_input, with_kwargs=True)
            if self._kept:
                block.register_forward_hook(self._on_block_output)
        trunk = captured.trunk
        vars(trunk)["forward"] = partial(self._trunk, trunk.forward)
        self.eval()

    @classmethod
    def of(
        cls, model: PreTrainedModel, head: AttributionHead | None, inputs: Mapping[str, Any]
    ) -> "WithExplanations":
        """Make the module of a model, after a checked pass over some inputs.

        Raises as `with_explanations`.
        """
        name = type(model).__name__
        with inference():
            forward = ForwardPass.run(model, inputs)
            if forward.problem not in _PROBLEMS or forward.captured.logits.dim() != 2:
                raise ModelError(
                    f"{name} does not classify or rate texts as a whole, and only such models are "
                    "given explanations. Explain it with Explainer."
                )
            _check(forward, name)
        clone = ModelClone(Anatomy.of(model), frozen=True)
        _own_parameters(clone.root)
        if forward.captured.clone.root.config.pad_token_id != clone.root.config.pad_token_id:
            clone.set_pad_token_id(forward.captured.clone.root.config.pad_token_id)
        return cls(forward, clone, None if head is None else HeadScores(head))

    def train(self, mode: bool = True) -> "WithExplanations":  # noqa: ARG002
        """Stay in evaluation mode: dropout would make scores of something else than the output."""
        return super().train(False)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        words: Tensor | None = None,
        **inputs: Any,
    ) -> Explanation:
        """Run the model, and its head on every token.

        Args:
            input_ids: int64 [batch, sequence].
            attention_mask: 1 at tokens and 0 at padding, int64 [batch, sequence].
            words: the number of each token's word, -1 for special tokens and padding, int64 [batch,
                sequence]; an attribution head needs it.
            **inputs: further inputs of the model, such as `token_type_ids`.
        """
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        inputs = {"input_ids": input_ids, "attention_mask": mask, **inputs}
        with nullcontext() if torch.compiler.is_compiling() else _LOCK:
            logits, hot, norms, layers = self._run(inputs)
        is_token = mask != 0
        padding = ~is_token[:, None]
        readouts = wide(hot).mT.masked_fill(padding, 0.0)  # [batch, labels, sequence]
        if self._finish is not None:
            # It takes [batch, labels, layers, sequence], nan at padding.
            values = readouts.masked_fill(padding, torch.nan)[:, :, None]
            readouts = self._finish(values, wide(logits)[:, :, None, None])[:, :, 0]
            readouts = readouts.masked_fill(padding, 0.0)
        norms = norms.masked_fill(~is_token, 0.0)
        of_head: tuple[Tensor, ...] = ()
        if self.head is not None:
            if words is None:
                raise ModelError(
                    "an attribution head needs to know which tokens make a word. Give words, the "
                    "number of each token's word, int64 [batch, sequence], -1 for special tokens."
                )
            of_head = self.head(layers, is_token, words, logits.float())
        return Explanation(
            logits,
            # Rounded before the product, as in the package.
            norms[:, None] * readouts.float(),
            readouts.float(),
            norms,
            *of_head,
        )

    def _run(self, inputs: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """The logits, HoT [batch, sequence, labels], norms, and the layers that the head reads."""
        self._zero, self._outputs, self._final = [], [], []
        logits = logits_of(named_outputs(self.model(**inputs, **self._settings)), None)
        (states,), (zero,), outputs = self._final, self._zero, self._outputs
        vectors = states.flatten(0, 1)[:, None]
        self._given = [vectors]
        try:
            stand_ins = self._replay.stand_ins(vectors.shape[0], 1) | self._settings
            alone = logits_of(named_outputs(self.model(**stand_ins)), None)
        finally:
            self._given, self._zero, self._outputs, self._final = [], [], [], []
        assert logits is not None
        assert alone is not None
        hot = alone.reshape(states.shape[0], states.shape[1], -1)
        of_layers = [zero, *outputs]
        layers = [of_layers[number] for number in sorted(self._kept)]
        if self._time_first:
            zero, layers = zero.transpose(0, 1), [layer.transpose(0, 1) for layer in layers]
        return logits, hot, norms_of(zero), layers

    def _trunk(self, own: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The trunk's forward: its own, or the answer with the states that are given."""
        if self._given:
            return self._answer(self._given[0], position=0)
        output = own(*args, **kwargs)
        self._final = [output[0]]
        return output

    def _on_block_input(self, _block: nn.Module, args: Any, kwargs: Any) -> None:
        if not self._zero:
            self._zero = [first_tensor((*args, *kwargs.values()))]

    def _on_block_output(self, _block: nn.Module, _args: Any, output: Any) -> None:
        self._outputs = [*self._outputs, first_tensor(output)]


def _check(forward: ForwardPass, name: str) -> None:
    """Raise `UnsupportedHeadError` for a model whose scores take more than the module computes."""
    captured, head = forward.captured, forward.head
    assert isinstance(head, PooledHead)
    if not head.takes_tokens_alone:
        reason = "its head needs more than one token's final state"
    elif captured.reads_decoder:
        reason = "it reads its text a second time, in a decoder"
    elif captured.towers:
        reason = "it has several sub-models side by side"
    elif captured.states.stack is None or captured.states.raw.dim() != 3:
        reason = "its blocks do not show the vectors that they begin with"
    else:
        return
    raise UnsupportedHeadError(
        f"{name} cannot return its explanation itself: {reason}. Explain it with Explainer."
    )


def _own_parameters(root: nn.Module) -> None:
    """Give a clone parameters of its own over the same weights; those that were tied stay so.

    So what is done to the clone, such as moving it to a device, is not done to the model.
    """
    own: dict[nn.Parameter, nn.Parameter] = {}
    for module in root.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                if weight not in own:
                    own[weight] = nn.Parameter(weight.detach(), requires_grad=False)
                module._parameters[name] = own[weight]


def _any_tokens(model: PreTrainedModel) -> dict[str, Tensor]:
    """Two rows of tokens that mean nothing in particular, to try the head on."""
    config = model.config.get_text_config()
    names = ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")
    special = {getattr(config, name, None) for name in names}
    size = int(config.vocab_size)
    ordinary = [i for i in range(size - 1, -1, -max(1, size // 40)) if i not in special][:14]
    ids = torch.tensor(ordinary[: len(ordinary) // 2 * 2], device=model.device).reshape(2, -1)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
