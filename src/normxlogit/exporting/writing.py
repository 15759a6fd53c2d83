"""A model exported into a folder: the graph with its explanation, checked, and all beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from normxlogit.data.files import write_whole
from normxlogit.data.location import local_path
from normxlogit.data.option_checks import check_type
from normxlogit.data.pending_folder import check_free, pending_folder
from normxlogit.errors import InputError, ModelError
from normxlogit.exporting.agreement import (
    TOGETHER,
    TOLERANCE,
    Answers,
    agrees,
    answers_of,
    drift,
    largest_difference,
)
from normxlogit.exporting.card import card
from normxlogit.exporting.exported import ExportedModel
from normxlogit.exporting.graph import outputs_of, write_graph
from normxlogit.exporting.manifest import (
    CARD,
    FIELDS,
    GRAPH,
    MANIFEST,
    NEEDED,
    WORDS,
    Drift,
    Manifest,
    TextRules,
    find_precision,
    sha256_of,
)
from normxlogit.exporting.module import WithExplanations
from normxlogit.exporting.precision import block_nodes, strip, to_float16, to_int8
from normxlogit.exporting.trial_texts import PAIRS, TEXTS, VARIED
from normxlogit.extras import check_installed, versions
from normxlogit.methods.attribution_head import AttributionHead
from normxlogit.methods.attribution_head.games import game_values
from normxlogit.results.text import Attribution
from normxlogit.tasks import Task
from normxlogit.tasks.explainer import ModelExplainer
from normxlogit.tasks.fingerprint import model_fingerprint
from normxlogit.text.encoder import Encoder
from normxlogit.text.validation import check_several


def export(
    explainer: ModelExplainer,
    folder: str | Path,
    *,
    int8: bool = False,
    float16: bool = False,
    texts: Sequence[Any] | None = None,
) -> Manifest:
    """Write a classifier or regression of texts as an ONNX graph that explains itself.

    The graph returns the logits and for every token the scores of each label, by NormXLogit and, if
    the explainer has one, by its attribution head. Before the folder appears, the graph has run on
    texts of several lengths and batches and said what `explain` says, to 1e-4 of the largest number
    of each text; in int8 and float16 the manifest says how far it is from that. See docs/export.md.

    Args:
        explainer: an `Explainer` of the model, in float32.
        folder: where to write; it must be empty or not exist.
        int8: turn the weights of the blocks into int8, a quarter of the size.
        float16: turn all numbers into float16, half of the size.
        texts: texts, or pairs of two, like those to be explained, on which to measure how far the
            graph is from the model, beside texts of this package.

    Returns:
        The manifest, as it lies in the folder. `load_exported(folder)` explains texts by it.

    Raises:
        InputError: the folder cannot be written to or holds something; or one of the texts cannot
            be read.
        ModelError: the model does not classify or rate texts, is not in float32, or cannot be
            expressed as a graph; or the graph does not say what the model says.
        UnsupportedHeadError: scores of this model could not be vouched for.
        OptionError: int8 and float16 exclude each other.
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
    """
    check_type("explainer", explainer, ModelExplainer)
    folder = local_path(folder, what="an export is written to a folder")
    precision = find_precision(int8=int8, float16=float16)
    check_free(folder)
    check_installed(NEEDED, "onnx")
    encoder = check_exportable(explainer)
    given, items = _given(texts, encoder), trial_items(explainer)
    module, inputs = _module(explainer, encoder, items)
    fingerprint, expected = model_fingerprint(explainer), _expected(explainer, items)
    with pending_folder(folder) as place:
        graph = place / GRAPH
        opset = write_graph(module, inputs, graph)
        nodes = block_nodes(graph, module.stack)
        strip(graph)
        explainer.tokenizer.save_pretrained(place)
        manifest = Manifest(
            precision="float32",
            opset=opset,
            outputs=outputs_of(module),
            model=fingerprint,
            problem=module.problem,
            labels=tuple(fingerprint["labels"]),
            depth=module.depth,
            methods=_methods(expected),
            base_values=None if explainer.head is None else _base_values(explainer.head, module),
            text=_text_rules(encoder, list(inputs)),
            drift={},
            given_drift={},
            versions=versions(*NEEDED),
            files={},
        )
        manifest = _tried(explainer, manifest, place, items, expected)
        if precision != "float32":
            to_int8(graph, nodes) if precision == "int8" else to_float16(graph)
            manifest = replace(manifest, precision=precision)
            items = trial_items(explainer, VARIED)
        exported = _loaded(place, manifest)
        manifest = replace(
            manifest,
            drift=_drifts(exported, explainer, items),
            given_drift=_drifts(exported, explainer, given) if given else {},
        )
        write_whole(place / CARD, card(manifest))
        return _write_manifest(place, manifest)


def check_exportable(explainer: ModelExplainer) -> Encoder:
    """Return the encoder of a model that may be exported, else raise `ModelError`."""
    name = type(explainer.model).__name__
    if explainer.task is not Task.TEXT:
        raise ModelError(
            f"{name} is for {explainer.task.value}, and only models that classify or rate texts as "
            "a whole can be exported."
        )
    dtype = str(explainer.model.dtype).removeprefix("torch.")
    if dtype != "float32":
        raise ModelError(
            f"a graph is made of a model in float32, and this one is in {dtype}. Load it with "
            "dtype='float32'; int8 and float16 are options of the export."
        )
    if not getattr(explainer.tokenizer, "is_fast", False):
        raise ModelError(
            f"{type(explainer.tokenizer).__name__} is not a fast tokenizer, so no file says how it "
            "reads texts. Load the model's fast tokenizer."
        )
    return explainer.encoder()


def _given(texts: Sequence[Any] | None, encoder: Encoder) -> list[Any]:
    """The texts that the user gave to measure on.

    Raises:
        InputError: it is one text, or one of them cannot be read.
    """
    if texts is None:
        return []
    check_several(texts)
    items = list(texts)
    for number, item in enumerate(items):
        try:
            encoder.encode(item, long="truncate")
        except InputError as error:
            raise InputError(f"texts[{number}] cannot be read: {error} Leave it out.") from error
    return items


def trial_items(explainer: ModelExplainer, more: Sequence[str] = ()) -> list[Any]:
    """The texts and pairs to try a graph on, without those that the model has no tokens for."""
    encoder, items = explainer.encoder(), []
    for item in (*TEXTS, *PAIRS, *more):
        try:
            encoder.encode(item, long="truncate")
        except InputError:
            continue
        items.append(item)
    if not items:
        raise ModelError(
            "the tokenizer reads none of the texts that the graph is to be tried on. Give texts "
            "that it reads."
        )
    return items


def _module(
    explainer: ModelExplainer, encoder: Encoder, items: Sequence[Any]
) -> tuple[WithExplanations, dict[str, Tensor]]:
    """The model with its explanations, on the CPU, and inputs to run it on."""
    # Two texts of one length, which need no padding: a text over that length, cut.
    encoded = [encoder.encode(item, long="truncate") for item in items]
    text = max(encoded[: len(TEXTS)], key=lambda text: min(len(text), 24))
    inputs = encoder.batch([text.windows[0]] * 2, "right")
    unknown = [name for name in inputs if name not in FIELDS]
    if unknown:
        raise ModelError(
            f"{type(explainer.model).__name__} reads {', '.join(unknown)}, which the file of a "
            "tokenizer does not give. Explain it with Explainer."
        )
    on_device = {name: values.to(explainer.model.device) for name, values in inputs.items()}
    module = WithExplanations.of(explainer.model, explainer.head, on_device).to("cpu")
    if explainer.head is not None:
        inputs[WORDS] = inputs["input_ids"].clone()
    return module, inputs


def _text_rules(encoder: Encoder, inputs: list[str]) -> TextRules:
    tokenizer = encoder.tokenizer
    markers = (
        getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "cls", "sep", "pad")
    )
    pad = tokenizer.pad_token_id
    padding = {
        "input_ids": encoder.filler if pad is None or pad >= encoder.vocabulary_size else pad,
        "attention_mask": 0,
        "token_type_ids": tokenizer.pad_token_type_id,
    }
    read = tuple(name for name in inputs if name != WORDS)
    return TextRules(
        inputs=read,
        padding={name: int(padding[name]) for name in read},
        side=None,
        markers=tuple(sorted({int(number) for number in markers if number is not None})),
        max_length=encoder.max_length,
        vocabulary_size=encoder.vocabulary_size,
    )


def _base_values(head: AttributionHead, module: WithExplanations) -> dict[str, Any]:
    """What scores add up from, by the number of tokens, for graphs read by other programs."""
    logits = head.empty.logits
    games = game_values(logits, logits, module.problem)[:, : logits.shape[-1]]
    return {"lengths": head.empty.lengths.tolist(), "values": games.tolist()}


def _tried(
    explainer: ModelExplainer,
    manifest: Manifest,
    place: Path,
    items: Sequence[Any],
    expected: Mapping[str, Answers],
) -> Manifest:
    """Hold the graph in float32 against `explain`, and find the side to pad on.

    Raises:
        ModelError: it says something else.
    """
    exported = _loaded(place, manifest)
    for method, answers in expected.items():
        difference = largest_difference(answers_of(exported, items, method, 1), answers)
        if not difference <= TOLERANCE:
            raise ModelError(
                f"the graph of {explainer.name} does not say what the model says: its numbers by "
                f"{method} are off by {difference:.1e} of the largest. Explain it with Explainer."
            )
    encoder = explainer.encoder()
    own = encoder.padding_side
    for side in (own, "left" if own == "right" else "right") if encoder.pads else ():
        padded = replace(manifest, text=replace(manifest.text, side=side))
        exported = _loaded(place, padded)
        if all(
            agrees(answers_of(exported, items, method, TOGETHER), answers)
            for method, answers in expected.items()
        ):
            return padded
    return manifest


def _drifts(
    exported: ExportedModel, explainer: ModelExplainer, items: Sequence[Any]
) -> dict[str, Drift]:
    """How a graph differs from the model over texts, by method."""
    return {
        method: drift(answers_of(exported, items, method, TOGETHER), answers)
        for method, answers in _expected(explainer, items).items()
    }


def _expected(explainer: ModelExplainer, items: Sequence[Any]) -> dict[str, Answers]:
    """What the model says of the texts, by method."""
    methods = ["normxlogit", *(["attribution_head"] if explainer.head is not None else [])]
    return {method: answers_of(explainer, items, method, TOGETHER) for method in methods}


def _methods(expected: Mapping[str, Answers]) -> dict[str, Any]:
    """What results by each method say of how they were made, as far as it is the same for all."""
    described = {}
    for method, answers in expected.items():
        result = next((answer for answer in answers if isinstance(answer, Attribution)), None)
        if result is None:
            raise ModelError(
                f"{method} explains none of the texts that the graph is to be tried on."
            )
        provenance = asdict(result.provenance)
        for name in ("dtype", "contrast", "versions"):
            del provenance[name]
        described[method] = provenance
    return described


def _write_manifest(place: Path, manifest: Manifest) -> Manifest:
    """Write the manifest of a folder, with the SHA-256 of all else in it."""
    paths = sorted(path for path in place.iterdir() if path.is_file() and path.name != MANIFEST)
    manifest = replace(manifest, files={path.name: sha256_of(path) for path in paths})
    write_whole(place / MANIFEST, manifest.json())
    return manifest


def _loaded(place: Path, manifest: Manifest) -> ExportedModel:
    """Write the manifest of a folder, and load what it then holds."""
    _write_manifest(place, manifest)
    return ExportedModel(place)
