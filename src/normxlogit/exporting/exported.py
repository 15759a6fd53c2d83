"""An exported model: explains texts by a graph, without torch and transformers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normxlogit.data.option_checks import flag, one_of, whole_number
from normxlogit.errors import (
    InputError,
    ModelError,
    NormXLogitError,
    OptionError,
    without_traceback,
)
from normxlogit.exporting.manifest import GRAPH, TOKENIZER, WORDS, Manifest
from normxlogit.exporting.sessions import open_session
from normxlogit.exporting.tokenizer_file import TokenizerFile
from normxlogit.extras import VERSION
from normxlogit.methods.catalogue import default_method
from normxlogit.methods.scores import UNLIKE
from normxlogit.model.targets import Problem, Targets, is_several, target_id
from normxlogit.model.targets import Target as Label
from normxlogit.results.base import Floats, Provenance
from normxlogit.results.prediction import Prediction, Target
from normxlogit.results.text import Attribution, Failure
from normxlogit.results.windows import WindowScores, check_total, joined, text_fields
from normxlogit.text.encoded import Encoded, Window
from normxlogit.text.lengths import TOKENS, by_length
from normxlogit.text.validation import are_words, check_long, check_several

_AHEAD = 16
"""How many batches of texts are read at a time, so that those of like length run together."""


def load_exported(
    folder: str | Path, runtime: str = "onnx", *, bfloat16: bool = False
) -> "ExportedModel":
    """Load a model that `export` wrote; neither torch nor transformers is imported.

    Args:
        folder: the folder.
        runtime: "onnx", ONNX Runtime (extra `onnx`), or "openvino" (extra `openvino`).
        bfloat16: let OpenVINO compute in bfloat16, which is faster and less exact; what that
            changes is not in the manifest.

    Raises:
        InputError: the folder holds no export, or a file in it has been changed since.
        OptionError: there is no such runtime, or it does not compute in bfloat16.
        MissingExtraError: it is not installed.
    """
    return ExportedModel(Path(folder), runtime, bfloat16=bfloat16)


class ExportedModel:
    """Explains texts by an exported graph; several threads may use it at once.

    Attributes:
        manifest: what the folder says of the model.
        runtime: what runs the graph.
        precision: what it computes in.
        methods: the methods that it has, the default first.
    """

    def __init__(self, folder: Path, runtime: str = "onnx", *, bfloat16: bool = False) -> None:
        """Load a folder; see `load_exported`."""
        self.manifest, self.runtime = Manifest.read(folder), runtime
        self.precision = "bfloat16" if flag("bfloat16", bfloat16) else self.manifest.precision
        self._session = open_session(
            runtime, folder / GRAPH, self.manifest.outputs, bfloat16=bfloat16
        )
        versions = {"normxlogit": VERSION, **self._session.version}
        self._made_by = {"dtype": self.precision, "versions": versions}
        self._reader = TokenizerFile(folder / TOKENIZER, self.manifest.text)
        self._reads_words = "head_scores" in self.manifest.outputs
        default = default_method(has_head=self._reads_words)
        self.methods = tuple(sorted(self.manifest.methods, key=lambda name: name != default))

    def __repr__(self) -> str:
        manifest = self.manifest
        labels = (
            ", ".join(manifest.labels)
            if len(manifest.labels) <= 4
            else (f"{len(manifest.labels)} labels")
        )
        return (
            f"<ExportedModel of {manifest.model['name']}: {manifest.model['architecture']} "
            f"({labels}), {self.precision} by {self.runtime}>"
        )

    def explain(
        self,
        inputs: Any,
        *,
        target: Targets = None,
        contrast: Label | None = None,
        method: str | None = None,
        threshold: float = 0.5,
        batch_size: int = 32,
        long: str = "error",
        is_split_into_words: bool = False,
        **others: Any,
    ) -> Attribution | list[Attribution | Failure]:
        """Explain a text, a pair (a tuple of two), or a list of these.

        The arguments mean what they mean in `Explainer.explain`; those that are not here (layers,
        readouts, other methods) need the model itself.

        Returns:
            An `Attribution`; for a list of inputs a list in the same order, with a `Failure` in the
            place of each that could not be explained.

        Raises:
            InputError: the input cannot be explained. (In a list it becomes a `Failure`.)
            OptionError: an option does not exist or does not fit.
        """
        is_split = flag("is_split_into_words", is_split_into_words)
        is_one = isinstance(inputs, (str, tuple)) or (is_split and are_words(inputs))
        results = self.stream(
            [inputs] if is_one else inputs,
            target=target,
            contrast=contrast,
            method=method,
            threshold=threshold,
            batch_size=batch_size,
            long=long,
            is_split_into_words=is_split,
            **others,
        )
        if not is_one:
            return list(results)
        (result,) = results
        if isinstance(result, Failure):
            raise result.error
        return result

    def stream(
        self,
        inputs: Iterable[Any],
        *,
        target: Targets = None,
        contrast: Label | None = None,
        method: str | None = None,
        threshold: float = 0.5,
        batch_size: int = 32,
        long: str = "error",
        is_split_into_words: bool = False,
        **others: Any,
    ) -> Iterator[Attribution | Failure]:
        """Explain inputs as they come, in bounded memory; the arguments are those of `explain`."""
        if others:
            raise OptionError(
                f"an exported model has no {', '.join(map(repr, others))}: its graph holds "
                f"{' and '.join(self.methods)} with the default readout at the last layer. Use "
                "Explainer for the rest."
            )
        question = _Question(self.manifest, target, contrast, self._method(method), threshold)
        size = whole_number("batch_size", batch_size)
        check_long(long)
        check_several(inputs)
        is_split = flag("is_split_into_words", is_split_into_words)

        def explained() -> Iterator[Attribution | Failure]:
            items = iter(inputs)
            while ahead := list(islice(items, _AHEAD * size)):
                results: dict[int, Attribution | NormXLogitError] = {}
                texts: dict[int, Encoded] = {}
                for index, item in enumerate(ahead):
                    try:
                        texts[index] = self._reader.encode(
                            item, is_split_into_words=is_split, long=long
                        )
                    except InputError as error:
                        results[index] = without_traceback(error)
                results |= self._explain(texts, question, size)
                for index, item in enumerate(ahead):
                    result = results[index]
                    yield result if isinstance(result, Attribution) else Failure(item, result)

        return explained()

    def _method(self, method: str | None) -> str:
        if method is None:
            return self.methods[0]
        return one_of("method", method, self.methods)

    def _explain(
        self, texts: Mapping[int, Encoded], question: "_Question", batch_size: int
    ) -> dict[int, Attribution | NormXLogitError]:
        """Explain texts by their windows, those of like length together."""
        parts = [(key, window) for key, text in texts.items() for window in text.windows]
        order = sorted(range(len(parts)), key=lambda number: len(parts[number][1]))
        padded = 0.0 if self.manifest.text.side is None else float("inf")
        outputs: dict[int, dict[str, NDArray[np.float32]]] = {}
        for batch in by_length(
            order,
            lambda number: len(parts[number][1]),
            lambda rows, longest: rows <= batch_size and rows * longest <= batch_size * TOKENS,
            padded=padded,
        ):
            rows = [(texts[parts[number][0]], parts[number][1]) for number in batch]
            outputs |= zip(batch, self._run(rows), strict=True)
        of_text: dict[int, list[dict[str, NDArray[np.float32]]]] = {key: [] for key in texts}
        for number, (key, _) in enumerate(parts):
            of_text[key].append(outputs[number])
        results: dict[int, Attribution | NormXLogitError] = {}
        for key, text in texts.items():
            try:
                results[key] = question.answer(text, of_text[key], self._made_by)
            except NormXLogitError as error:
                results[key] = without_traceback(error)
        return results

    def _run(
        self, rows: Sequence[tuple[Encoded, Window]]
    ) -> Iterator[dict[str, NDArray[np.float32]]]:
        """Run the graph on windows of texts; yield the outputs of each, without padding."""
        inputs = self._reader.batch([window for _, window in rows])
        width = inputs["input_ids"].shape[1]
        if self._reads_words:
            words = np.full((len(rows), width), -1, np.int64)
            for row, (text, window) in zip(words, rows, strict=True):
                row[self._reader.place(window, width)] = _words(text, window)
            inputs[WORDS] = words
        outputs = self._session.run(inputs)
        of_tokens = ("scores", "readouts", "norms", "head_scores")
        for number, (_, window) in enumerate(rows):
            place = self._reader.place(window, width)
            yield {
                name: values[number][..., place] if name in of_tokens else values[number]
                for name, values in outputs.items()
            }


def _words(text: Encoded, window: Window) -> NDArray[np.int64]:
    """The number of the word of each token of a window, [tokens]; -1 for special tokens."""
    words: NDArray[np.int64] = np.where(text.special, -1, text.words)[window.positions]
    return words.astype(np.int64)


class _Question:
    """What is asked of a text, and how the graph's outputs answer it."""

    def __init__(
        self,
        manifest: Manifest,
        target: Targets,
        contrast: Label | None,
        method: str,
        threshold: float,
    ) -> None:
        problem, labels = manifest.problem, manifest.labels
        self._manifest, self._target, self._method = manifest, target, method
        self._threshold = float(threshold)
        self._named = None if target is None else _numbers(target, labels)
        self._foil = None if contrast is None else target_id(contrast, labels)
        if contrast is not None and problem is Problem.REGRESSION:
            raise OptionError(
                "contrast compares two labels, and this model's output is a value, not a label."
            )
        self._axes = ("target",) * is_several(target, problem, len(labels))

    def answer(
        self,
        text: Encoded,
        outputs: Sequence[Mapping[str, NDArray[np.float32]]],
        made_by: Mapping[str, Any],
    ) -> Attribution:
        """Return the attribution of a text, from the outputs for each of its windows.

        Raises:
            InputError: the prediction is the contrast.
            OptionError: the target is the contrast.
            ModelError: the scores are too large.
        """
        manifest = self._manifest
        logits = np.stack([window["logits"] for window in outputs]).mean(0).astype(np.float32)
        prediction = prediction_of(logits, manifest, self._threshold)
        numbers = self._numbers(prediction)
        window = joined(text, [self._window(numbers, text, n, o) for n, o in enumerate(outputs)])
        check_total(window.scores, self._method)
        several = bool(self._axes)

        def on_axes(values: Floats | None) -> Floats | None:
            # [targets, 1, tokens] -> [*axes, tokens]
            return None if values is None else values[:, 0] if several else values[0, 0]

        scores = on_axes(window.scores)
        assert scores is not None
        return Attribution(
            **text_fields(text),
            scores=scores,
            logits=on_axes(window.values),
            norms=window.norms,
            base=None if window.base is None else tuple(window.base),
            notes={name: tuple(values) for name, values in window.notes.items()},
            axes=self._axes,
            targets=tuple(prediction.outputs[number] for number in numbers),
            layers=(manifest.depth,),
            prediction=prediction,
            provenance=self._provenance(made_by),
        )

    def _numbers(self, prediction: Prediction) -> list[int]:
        """The labels that are explained."""
        if self._named is not None:
            numbers = self._named
        elif prediction.problem == Problem.MULTI_LABEL.value:
            ranked = sorted(prediction.predicted, key=lambda output: -output.logit)
            numbers = [output.id for output in ranked or [prediction.top]]
        else:
            numbers = [output.id for output in prediction.predicted]
        if self._foil in numbers:
            predicted = self._target is None
            raise (InputError if predicted else OptionError)(
                f"{'the prediction' if predicted else 'the target'} and the contrast are both "
                f"{self._manifest.labels[self._foil]!r}, which leaves nothing to explain. Name "
                "another target or contrast."
            )
        return numbers

    def _window(
        self,
        numbers: list[int],
        text: Encoded,
        number: int,
        outputs: Mapping[str, NDArray[np.float32]],
    ) -> WindowScores:
        """The scores of one window of a text, for the labels of these numbers."""

        def less_foil(values: NDArray[np.float32]) -> NDArray[np.float32]:
            chosen: NDArray[np.float32] = values[numbers]
            return chosen if self._foil is None else chosen - values[self._foil]

        if self._method == "normxlogit":
            readouts = less_foil(outputs["readouts"])[:, None]
            scores = outputs["norms"] * readouts
            return WindowScores(scores, readouts, outputs["norms"], None, {})
        special = text.special[text.windows[number].positions]
        scores = np.where(special, np.float32(np.nan), less_foil(outputs["head_scores"]))[:, None]
        base = less_foil(outputs["head_base"]).tolist()
        distance = [float(outputs["head_distance"])] * len(numbers)
        return WindowScores(scores, None, outputs["norms"], base, {UNLIKE: distance})

    def _provenance(self, made_by: Mapping[str, Any]) -> Provenance:
        manifest = self._manifest
        contrast = None if self._foil is None else manifest.labels[self._foil]
        return Provenance(
            **manifest.methods[self._method],
            **made_by,
            contrast=contrast,
        )


def _numbers(target: Any, labels: Sequence[str]) -> list[int]:
    """The numbers of the labels that were asked for.

    Raises:
        OptionError: there is no such label, or none was named.
    """
    if isinstance(target, str) and target == "all":
        return list(range(len(labels)))
    is_several = isinstance(target, Sequence) and not isinstance(target, str)
    numbers = [target_id(one, labels) for one in (target if is_several else [target])]
    if not numbers:
        raise OptionError("target is an empty list: name at least one label.")
    return numbers


def prediction_of(logits: NDArray[np.float32], manifest: Manifest, threshold: float) -> Prediction:
    """The model's own output for a text, [labels], by name.

    Raises:
        ModelError: an output is not a finite number.
    """
    if not np.isfinite(logits).all():
        raise ModelError(
            f"the graph gave outputs that are not finite numbers in {manifest.precision}. Export "
            "the model in float32."
        )
    problem = manifest.problem
    if problem is Problem.SINGLE_LABEL:
        powers = np.exp(logits - logits.max())
        probabilities = powers / powers.sum()
    else:
        with np.errstate(over="ignore"):
            probabilities = 1 / (1 + np.exp(-logits))
    outputs = tuple(
        Target(label, number, logit, None if problem is Problem.REGRESSION else probability)
        for number, (label, logit, probability) in enumerate(
            zip(manifest.labels, logits.tolist(), probabilities.tolist(), strict=True)
        )
    )
    if problem is Problem.SINGLE_LABEL:
        predicted = [outputs[int(logits.argmax())]]
    elif problem is Problem.MULTI_LABEL:
        predicted = [output for output in outputs if (output.probability or 0.0) > threshold]
    else:
        predicted = list(outputs)
    return Prediction(problem.value, tuple(predicted), outputs)
