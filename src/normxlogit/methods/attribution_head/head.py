"""An attribution head, fitted to one model, and its file."""

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from normxlogit.data.files import write_whole
from normxlogit.data.plain import Plain, dump_json
from normxlogit.data.tensor_file import TensorFile
from normxlogit.errors import InputError
from normxlogit.methods.attribution_head.games import READOUTS, game_count
from normxlogit.methods.attribution_head.network import HeadNetwork
from normxlogit.model.readings import Reading
from normxlogit.model.targets import Problem

SCHEMA = 1
FILE = TensorFile(
    "normxlogit.attribution_head",
    SCHEMA,
    refusal="is no attribution head",
    foreign=" but no attribution head",
    complaint="this is no whole attribution head",
    remedy="Fit it again with `normxlogit fit`.",
)
HIDINGS = ("mask", "remove", "eos")
"""How words were hidden: behind the mask token, by the attention mask, or behind that which ends a
text."""


@dataclass(frozen=True)
class FitRecord:
    """How an attribution head was fitted, as plain data.

    Attributes:
        model: the model's fingerprint, see `normxlogit.tasks.fingerprint`.
        problem: what its outputs mean.
        layers: the blocks whose outputs the head reads; 0 is the first block's input.
        hiding: how words were hidden, one of `HIDINGS`.
        settings: the options of the fit, by name.
        data: the identity of the texts, and how many there were.
        held_out: how good the head is on texts that it was not fitted on.
        versions: of the packages that made it.
    """

    model: Mapping[str, Any]
    problem: Problem
    layers: tuple[int, ...]
    hiding: str
    settings: Mapping[str, Any]
    data: Mapping[str, Any]
    held_out: Mapping[str, Any]
    versions: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class EmptyOutcomes:
    """What a model says of texts with every word hidden, by their length.

    Attributes:
        lengths: numbers of tokens, ascending, int64 [lengths].
        logits: the mean output for texts of each length, float32 [lengths, outputs].
    """

    lengths: Tensor
    logits: Tensor

    def at(self, lengths: Tensor) -> Tensor:
        """The outputs for other lengths, between the nearest two: [rows] -> [rows, outputs]."""
        measured, logits = self.lengths, self.logits
        # As torch.searchsorted gives it, which ONNX has not: how many are shorter.
        above = (measured < lengths[:, None]).sum(1).clamp(max=len(measured) - 1)
        below = (above - (measured[above] > lengths).long()).clamp_min(0)
        span = (measured[above] - measured[below]).clamp_min(1)
        part = ((lengths - measured[below]) / span).clamp(0, 1)[:, None]
        return logits[below] + part * (logits[above] - logits[below])


@dataclass(frozen=True, eq=False)
class UsualStates:
    """The states of the texts that a head was fitted on, each text's mean over its tokens.

    Attributes:
        mean, deviation: over texts, float32 [features].
        components: the directions in which standardised texts differ most from each other, of
            length 1, float32 [components, features].
        limit: a distance that one in a hundred of such texts exceeds.
    """

    mean: Tensor
    deviation: Tensor
    components: Tensor
    limit: float

    def distance(self, means: Tensor) -> Tensor:
        """How far texts are from these, as a multiple of `limit`: above 1 they are unlike them.

        The root mean square over features of what is left of a standardised text without the
        directions in which these texts differ from each other: theirs may be long in those, but
        have little else.

        Args:
            means: see `text_means`, float32 [rows, features].

        Returns:
            float32 [rows].
        """
        standard = (means - self.mean) / self.deviation
        rest = standard - standard @ self.components.T @ self.components
        return rest.square().mean(-1).sqrt() / self.limit


def text_means(states: Tensor, mask: Tensor) -> Tensor:
    """The mean over a text's tokens: [rows, sequence, features] -> float32 [rows, features]."""
    weights = mask.float() / mask.sum(1, keepdim=True).clamp_min(1)
    return (weights[:, None] @ states.float())[:, 0]


@dataclass(frozen=True, eq=False)
class AttributionHead:
    """A network on a model's hidden states whose outputs are its words' Shapley values.

    Attributes:
        network: the network, in evaluation mode.
        empty: what the model says of texts with every word hidden.
        usual: the states of the texts that it was fitted on.
        record: how it was fitted, and how good it is.
    """

    network: HeadNetwork
    empty: EmptyOutcomes
    usual: UsualStates
    record: FitRecord
    _placed: dict[torch.device, "AttributionHead"] = field(default_factory=dict, repr=False)

    @property
    def layers(self) -> tuple[int, ...]:
        """The blocks whose outputs it reads; 0 is the first block's input."""
        return self.record.layers

    @property
    def hidden(self) -> int:
        """The width of the layers that it reads."""
        return self.network.inner.in_features // len(self.layers)

    @property
    def readings(self) -> Mapping[int, Reading]:
        """What it keeps of each of its layers: the means of texts, see `text_means`, and, if the
        layer is as wide as it must be, what it adds to the hidden units, see `HeadNetwork`.
        """
        return {layer: partial(self._read, number) for number, layer in enumerate(self.layers)}

    def _read(self, number: int, states: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        means = text_means(states, mask)
        if states.shape[-1] != self.hidden:
            return (means,)
        return means, self.on(states.device).network.of_layer(states, number)

    def on(self, device: torch.device) -> "AttributionHead":
        """The head on a device; copied there once."""
        if device.type == "cpu":
            return self
        if device not in self._placed:
            empty, usual = self.empty, self.usual
            self._placed[device] = AttributionHead(
                copy.deepcopy(self.network).to(device),
                EmptyOutcomes(empty.lengths.to(device), empty.logits.to(device)),
                UsualStates(
                    usual.mean.to(device),
                    usual.deviation.to(device),
                    usual.components.to(device),
                    usual.limit,
                ),
                self.record,
            )
        return self._placed[device]

    @cached_property
    def identity(self) -> str:
        """The SHA-256 of its weights, by which it is told from others."""
        sha = hashlib.sha256()
        for key, value in sorted(self.network.state_dict().items()):
            sha.update(key.encode() + value.contiguous().numpy().tobytes())
        return sha.hexdigest()

    def summary(self) -> dict[str, Any]:
        """What results made with it say of it, as plain data."""
        return {
            "identity": self.identity,
            "fitted_on": dict(self.record.data),
            "held_out": dict(self.record.held_out),
            "hiding": self.record.hiding,
            "layers": list(self.layers),
            "settings": dict(self.record.settings),
            "schema": SCHEMA,
        }

    def save(self, path: str | PathLike[str]) -> None:
        """Write it as safetensors; the file appears whole or not at all.

        Raises:
            InputError: it cannot be written.
        """
        tensors = {f"network.{key}": value for key, value in self.network.state_dict().items()}
        tensors |= {"empty.lengths": self.empty.lengths, "empty.logits": self.empty.logits}
        tensors |= {"usual.mean": self.usual.mean, "usual.deviation": self.usual.deviation}
        tensors |= {"usual.components": self.usual.components}
        record = asdict(self.record) | {"schema": SCHEMA, "limit": self.usual.limit}
        content = save(
            {key: value.contiguous() for key, value in tensors.items()},
            metadata={FILE.key: dump_json(record | {"problem": self.record.problem.value})},
        )
        write_whole(Path(path), content)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "AttributionHead":
        """Read a file that `save` wrote. Nothing in it is run.

        Raises:
            InputError: there is no such file, it is no attribution head, or it was made by a newer
                normxlogit.
        """
        return _read(*FILE.read(path, "pt"))


def _read(data: Plain, tensors: dict[str, Tensor]) -> AttributionHead:
    problem = Problem(data.get("problem").choice([problem.value for problem in READOUTS]))
    record = FitRecord(
        model=data.get("model").entries(Plain.anything),
        problem=problem,
        layers=tuple(layer.integer(0) for layer in data.get("layers").items(1)),
        hiding=data.get("hiding").choice(HIDINGS),
        settings=data.get("settings").entries(Plain.anything),
        data=data.get("data").entries(Plain.anything),
        held_out=data.get("held_out").entries(Plain.anything),
        versions=data.get("versions").entries(Plain.text),
    )
    limit = data.get("limit").number()
    data.get("limit").require(limit > 0, "above 0")

    def tensor(name: str, dtype: torch.dtype, *shape: int | None) -> Tensor:
        values = tensors.get(name)
        fits = (
            values is not None
            and values.dtype == dtype
            and values.dim() == len(shape)
            and all(n in (None, m) for n, m in zip(shape, values.shape, strict=True))
            and values.numel() > 0
            and bool(values.isfinite().all())
        )
        _require(data, fits, f"{name} is missing or not as it must be")
        assert values is not None
        return values

    def deviation(name: str) -> Tensor:
        values = tensor(name, floats, features)
        _require(data, bool((values > 0).all()), f"{name} must be above 0")
        return values

    floats = torch.float32
    inner = tensor("network.inner.weight", floats, None, None)
    width, features = inner.shape
    lengths = tensor("empty.lengths", torch.int64, None)
    logits = tensor("empty.logits", floats, len(lengths), None)
    games = game_count(problem, logits.shape[1])
    _require(data, bool((lengths.diff() > 0).all()), "lengths must ascend")
    layers = record.layers
    _require(data, layers == tuple(sorted(set(layers))), "layers must ascend")
    _require(data, features % len(layers) == 0, f"it reads no {len(layers)} layers of one width")
    state = {
        "mean": tensor("network.mean", floats, features),
        "deviation": deviation("network.deviation"),
        "inner.weight": inner,
        "inner.bias": tensor("network.inner.bias", floats, width),
        "outer.weight": tensor("network.outer.weight", floats, games, width),
        "outer.bias": tensor("network.outer.bias", floats, games),
    }
    network = HeadNetwork(features, width, games)
    network.load_state_dict(state)
    usual = UsualStates(
        tensor("usual.mean", floats, features),
        deviation("usual.deviation"),
        tensor("usual.components", floats, None, features),
        limit,
    )
    return AttributionHead(network.eval(), EmptyOutcomes(lengths, logits), usual, record)


def _require(data: Plain, right: bool, wrong: str) -> None:
    if not right:
        raise InputError(f"{data.complaint}: {wrong}. {FILE.remedy}")
