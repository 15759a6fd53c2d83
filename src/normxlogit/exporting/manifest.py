"""What lies beside an exported graph: what it is, how it was made, and how to read its outputs."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from normxlogit.data.option_checks import flag
from normxlogit.data.plain import Plain, dump_json, parse_json
from normxlogit.errors import InputError, OptionError
from normxlogit.model.targets import Problem

SCHEMA = 1
MANIFEST, GRAPH, TOKENIZER, CARD = "manifest.json", "model.onnx", "tokenizer.json", "README.md"
_KIND = "normxlogit/export"
_REMEDY = "Export the model again."

PRECISIONS = ("float32", "float16", "int8")
SIDES = ("right", "left")
NEEDED = ("onnx", "onnxscript", "onnxruntime")
"""The packages that make a graph and try it."""
WORDS = "words"
"""The graph's input of the numbers of words, if it has an attribution head."""
FIELDS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
"""The inputs of models that a tokenizer's file gives, and what it calls them."""
OUTPUTS = ("logits", "scores", "readouts", "norms")
HEAD_OUTPUTS = ("head_scores", "head_base", "head_distance")
"""What graphs return, and what those with an attribution head return too."""
METHODS = ("normxlogit", "attribution_head")


@dataclass(frozen=True)
class TextRules:
    """How texts become the graph's inputs, beyond what the file of the tokenizer says.

    Attributes:
        inputs: the names of the inputs that the tokenizer gives, in order.
        padding: what each of them is padded with.
        side: where texts of different lengths are padded, "right" or "left"; None if only those of
            one length may run together.
        markers: the ids that a tokenizer puts around texts.
        max_length: the most tokens that the model takes; None without a limit.
        vocabulary_size: how many tokens the model has embeddings for.
    """

    inputs: tuple[str, ...]
    padding: Mapping[str, int]
    side: str | None
    markers: tuple[int, ...]
    max_length: int | None
    vocabulary_size: int


@dataclass(frozen=True)
class Drift:
    """How the graph differs from the model, over the texts that it was tried on.

    Attributes:
        texts: how many texts both explain.
        failures: texts that only one of both explains.
        largest_difference: of scores and outputs, as a share of the largest of the text.
        predictions_changed: texts with another prediction.
        strongest_changed: texts whose prediction rests most on another token.
        rank_correlation: Spearman's, of a text's scores for the predicted label, the mean over
            texts; None if no text has several tokens.
        lowest_rank_correlation: the lowest of a text.
    """

    texts: int
    failures: int
    largest_difference: float
    predictions_changed: int
    strongest_changed: int
    rank_correlation: float | None
    lowest_rank_correlation: float | None


@dataclass(frozen=True)
class Manifest:
    """What a folder with an exported graph says of itself.

    Attributes:
        precision: one of `PRECISIONS`.
        opset: the version of ONNX's operators.
        outputs: the names of the graph's outputs.
        model: the fingerprint of the model, as `normxlogit.tasks.fingerprint` gives it.
        problem: what its outputs mean.
        labels: their names.
        depth: how many layers the model has.
        methods: for each method what results say of how scores were made, see `Provenance`.
        base_values: what the scores of an attribution head add up from for each label, by the
            number of tokens ("lengths" and "values"); None without a head.
        text: how texts become inputs.
        drift: how the graph differs from the model, by method, over texts of this package.
        given_drift: the same over the texts that were given for that; empty without.
        versions: of the packages that made it.
        files: the SHA-256 of each other file in the folder.
    """

    precision: str
    opset: int
    outputs: tuple[str, ...]
    model: Mapping[str, Any]
    problem: Problem
    labels: tuple[str, ...]
    depth: int
    methods: Mapping[str, Mapping[str, Any]]
    base_values: Mapping[str, Any] | None
    text: TextRules
    drift: Mapping[str, Drift]
    given_drift: Mapping[str, Drift]
    versions: Mapping[str, str]
    files: Mapping[str, str]

    def json(self) -> str:
        """Return it as JSON."""
        fields = {
            "kind": _KIND,
            "schema": SCHEMA,
            **asdict(self),
            "problem": self.problem.value,
        }
        return dump_json({**fields, "sha256": _digest(fields)}) + "\n"

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read the manifest of a folder, and check that the files are those that it names.

        Raises:
            InputError: the folder holds no export, one of a newer normxlogit, or a file in it has
                been changed since.
        """
        path = folder / MANIFEST
        try:
            content = path.read_bytes()
        except (OSError, ValueError) as error:
            raise InputError(
                f"{folder} holds no exported model: {MANIFEST} cannot be read ({error}). "
                "`normxlogit export` makes one."
            ) from error
        data = Plain(parse_json(content, path), f"{path}: this is no whole export", _REMEDY)
        data.get("kind").choice([_KIND])
        schema = data.get("schema").integer(1)
        if schema > SCHEMA:
            raise InputError(
                f"{path} was made by a newer normxlogit (schema {schema}; this one reads up to "
                f"{SCHEMA}). Upgrade normxlogit."
            )
        manifest = _read(data)
        _check(data, manifest)
        if data.get("sha256").text() != _digest(data.value):
            raise InputError(f"{path} is not as it was written: its SHA-256 is another. {_REMEDY}")
        for name, expected in manifest.files.items():
            _check_file(folder / name, expected)
        return manifest


def find_precision(*, int8: bool, float16: bool) -> str:
    """Return the precision that is asked for.

    Raises:
        OptionError: both are.
    """
    if flag("int8", int8) and flag("float16", float16):
        raise OptionError("a graph is in int8 or in float16. Leave one of both out.")
    return "int8" if int8 else "float16" if float16 else "float32"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            sha.update(part)
    return sha.hexdigest()


def _digest(fields: Mapping[str, Any]) -> str:
    """The SHA-256 of the fields of a manifest, but for that which holds it."""
    read_back = {name: value for name, value in fields.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(read_back, sort_keys=True).encode()).hexdigest()


def _check_file(path: Path, expected: str) -> None:
    try:
        actual = sha256_of(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}. {_REMEDY}") from error
    if actual != expected:
        raise InputError(
            f"{path} is not the file that was exported: its SHA-256 is {actual[:12]}..., and the "
            f"manifest names {expected[:12]:.12}.... {_REMEDY}"
        )


def _read(data: Plain) -> Manifest:
    text = data.get("text")
    base = data.get("base_values")
    return Manifest(
        precision=data.get("precision").choice(PRECISIONS),
        opset=data.get("opset").integer(1),
        outputs=tuple(name.text() for name in data.get("outputs").items(1)),
        model=_read_model(data.get("model")),
        problem=Problem(data.get("problem").choice([problem.value for problem in Problem])),
        labels=tuple(label.text() for label in data.get("labels").items(1)),
        depth=data.get("depth").integer(1),
        methods=data.get("methods").entries(_read_method),
        base_values=base.optional(lambda values: values.entries(Plain.anything)),
        text=TextRules(
            inputs=tuple(name.text() for name in text.get("inputs").items(1)),
            padding=text.get("padding").entries(Plain.integer),
            side=text.get("side").optional(lambda side: side.choice(SIDES)),
            markers=tuple(number.integer() for number in text.get("markers").items()),
            max_length=text.get("max_length").optional(lambda length: length.integer(1)),
            vocabulary_size=text.get("vocabulary_size").integer(1),
        ),
        drift=data.get("drift").entries(_read_drift),
        given_drift=data.get("given_drift").entries(_read_drift),
        versions=data.get("versions").entries(Plain.text),
        files=data.get("files").entries(Plain.text),
    )


def _read_model(data: Plain) -> dict[str, Any]:
    for name in ("name", "architecture", "sha256"):
        data.get(name).text()
    return data.entries(Plain.anything)


def _read_method(data: Plain) -> dict[str, Any]:
    """Read what results say of how scores were made, but for what the runtime knows."""
    fields: dict[str, Callable[[Plain], Any]] = {
        **dict.fromkeys(("model", "architecture", "method"), Plain.text),
        **dict.fromkeys(
            ("revision", "readout", "unsigned"), lambda value: value.optional(Plain.text)
        ),
        **dict.fromkeys(("of_output", "reads_layers"), Plain.flag),
        "options": lambda options: options.entries(Plain.anything),
    }
    data.has_only(list(fields))
    return {name: read(data.get(name)) for name, read in fields.items()}


def _check(data: Plain, manifest: Manifest) -> None:
    """Refuse a manifest whose parts do not fit together."""
    has_head = "attribution_head" in manifest.methods
    outputs, methods = data.get("outputs"), data.get("methods")
    methods.require(
        set(manifest.methods) == set(METHODS if has_head else METHODS[:1])
        and all(method["method"] == name for name, method in manifest.methods.items()),
        f"an object of {METHODS[0]}, with a head also of {METHODS[1]}",
    )
    expected = (*OUTPUTS, *(HEAD_OUTPUTS if has_head else ()))
    outputs.require(manifest.outputs == expected, f"the list {', '.join(expected)}")
    for name, value in (("labels", list(manifest.labels)), ("problem", manifest.problem.value)):
        data.get(name).require(data.get("model").get(name).value == value, f"the model's {name}")
    text, rules = data.get("text"), manifest.text
    text.get("inputs").require(
        "input_ids" in rules.inputs and set(rules.inputs) <= set(FIELDS), "inputs of a tokenizer"
    )
    text.get("padding").require(set(rules.padding) == set(rules.inputs), "a number for each input")
    text.get("padding").get("input_ids").integer(0, rules.vocabulary_size - 1)
    files = data.get("files")
    for name in (GRAPH, TOKENIZER):
        files.require(name in manifest.files, f"an object with {name}")
    are_names = all(Path(name).name == name for name in manifest.files)
    files.require(are_names, "an object whose names are those of files beside it")


def _read_drift(data: Plain) -> Drift:
    return Drift(
        texts=data.get("texts").integer(1),
        failures=data.get("failures").integer(),
        largest_difference=data.get("largest_difference").number(0.0),
        predictions_changed=data.get("predictions_changed").integer(),
        strongest_changed=data.get("strongest_changed").integer(),
        rank_correlation=data.get("rank_correlation").optional(Plain.number),
        lowest_rank_correlation=data.get("lowest_rank_correlation").optional(Plain.number),
    )
