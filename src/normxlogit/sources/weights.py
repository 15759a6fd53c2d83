"""Weights of attention heads fitted to a model, thresholds of citation, and their file."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from os import PathLike, fspath
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from safetensors.numpy import save
from transformers import PreTrainedModel

from normxlogit.data.files import write_whole
from normxlogit.data.plain import Plain, dump_json
from normxlogit.data.tensor_file import TensorFile
from normxlogit.errors import InputError, OptionError
from normxlogit.results.base import Floats
from normxlogit.tasks.digest import digest

SCHEMA = 1
FILE = TensorFile(
    "normxlogit.source_weights",
    SCHEMA,
    refusal="holds no weights of sources",
    foreign=", but not weights of sources",
    complaint="these are no whole weights of sources",
    remedy="Fit them again with `normxlogit fit-sources`.",
)


@dataclass(frozen=True, eq=False)
class SourceWeights:
    """What attribution to sources has of one model: weights of its heads, and thresholds.

    Attributes:
        heads: what the attention of each head counts for, float32 [layers, heads].
        thresholds: by method, the score from which a source is cited.
        model: the fingerprint of the model, see `normxlogit.tasks.fingerprint`, and "weights".
        settings: the options of the fit, by name.
        data: the identity of the questions, and how many there were.
        held_out: how good heads and thresholds are on questions that they were not fitted on.
        versions: of the packages that made it.
    """

    heads: Floats
    thresholds: Mapping[str, float]
    model: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    held_out: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def identity(self) -> str:
        """The SHA-256 of its weights and thresholds, by which it is told from others."""
        thresholds = dump_json(dict(sorted(self.thresholds.items())))
        content = np.ascontiguousarray(self.heads).tobytes() + thresholds.encode()
        return hashlib.sha256(content).hexdigest()

    def summary(self) -> dict[str, Any]:
        """What results made with them say of them, as plain data."""
        return {
            "identity": self.identity,
            "fitted_to": self.model.get("name"),
            "data": dict(self.data),
            "held_out": dict(self.held_out),
            "schema": SCHEMA,
        }

    def save(self, path: str | PathLike[str]) -> None:
        """Write them as safetensors; the file appears whole or not at all.

        Raises:
            InputError: it cannot be written.
        """
        record = {name: value for name, value in asdict(self).items() if name != "heads"}
        content = save(
            {"heads": np.ascontiguousarray(self.heads, np.float32)},
            metadata={FILE.key: dump_json(record | {"schema": SCHEMA})},
        )
        write_whole(Path(path), content)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "SourceWeights":
        """Read a file that `save` wrote. Nothing in it is run.

        Raises:
            InputError: there is no such file, it holds something else, or it was made by a newer
                normxlogit.
            OptionError: `path` is no path.
        """
        if not isinstance(path, (str, PathLike)) or not fspath(path):
            raise OptionError(f"weights of sources are read from a file; got {path!r:.80}.")
        data, tensors = FILE.read(path, "np")
        heads = tensors.get("heads")
        is_whole = (
            heads is not None
            and heads.dtype == np.float32
            and heads.ndim == 2
            and heads.size > 0
            and bool(np.isfinite(heads).all())
        )
        if not is_whole or heads is None:
            raise InputError(
                f"{data.complaint}: heads is missing or not as it must be. {FILE.remedy}"
            )
        return cls(
            heads=heads,
            thresholds=data.get("thresholds").entries(Plain.number),
            model=data.get("model").entries(Plain.anything),
            settings=data.get("settings").entries(Plain.anything),
            data=data.get("data").entries(Plain.anything),
            held_out=data.get("held_out").entries(Plain.anything),
            versions=data.get("versions").entries(Plain.text),
        )


WeightsSource = SourceWeights | str | PathLike[str]
"""Weights, or their file."""


_CHECKED: "WeakKeyDictionary[PreTrainedModel, set[tuple[str, int]]]" = WeakKeyDictionary()
"""The weights that were found to be a model's, by identity and by the model's `_state`: a digest
takes as long as a pass."""


def weights_of_model(
    source: WeightsSource, model: PreTrainedModel, tokenizer: Any, name: str
) -> SourceWeights:
    """Return weights, read from their file if need be, that were fitted to this very model.

    Raises:
        InputError: they are those of another model, or the file holds none.
        OptionError: it is something else.
    """
    if not isinstance(source, (SourceWeights, str, PathLike)):
        raise OptionError(
            f"weights are those that fit_sources returns, or their file; got {source!r:.80}."
        )
    weights = source if isinstance(source, SourceWeights) else SourceWeights.load(source)
    checked = _CHECKED.setdefault(model, set())
    key = weights.identity, _state(model)
    if key in checked:
        return weights
    if weights.model.get("weights") != digest(model, tokenizer, of_any_dtype=True):
        raise InputError(
            f"these weights of sources were fitted to {weights.model.get('name')!s:.80}, and the "
            f"model is {name:.80}, or its weights or its tokenizer have changed since. Give those "
            "of this model, or fit them with `normxlogit fit-sources`."
        )
    checked.add(key)
    return weights


def _state(model: PreTrainedModel) -> int:
    """A number that changes when a parameter is replaced, or written to by an optimizer."""
    return hash(
        tuple((p.data_ptr(), 0 if p.is_inference() else p._version) for p in model.parameters())
    )
