"""An exported model: explains texts by a graph, without torch and transformers."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from normxlogit.data.option_checks import flag, one_of, whole_number
from normxlogit.errors import OptionError
from normxlogit.exporting.running.graph_texts import GraphTexts
from normxlogit.methods.catalogue import default_method
from normxlogit.methods.request import Request
from normxlogit.model.targets import Target, Targets
from normxlogit.results.text import Attribution, Failure
from normxlogit.tasks import InputOptions
from normxlogit.text.lengths import MOST_TOGETHER
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
        precision: what it computes in; if that is not what its weights are stored in, both.
        methods: the methods that it has, the default first.
        texts: encodes and explains texts.
    """

    def __init__(
        self, folder: Path, runtime: str = "onnx", *, bfloat16: bool = False, streams: int = 1
    ) -> None:
        """Load a folder; see `load_exported` and `GraphTexts`."""
        self.texts = GraphTexts(
            folder, runtime, bfloat16=flag("bfloat16", bfloat16), streams=streams
        )
        self.manifest, self.runtime = self.texts.manifest, runtime
        self.precision = self.texts.precision
        default = default_method(has_head="attribution_head" in self.manifest.methods)
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
        contrast: Target | None = None,
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
        contrast: Target | None = None,
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
        request = Request(target, contrast, self._method(method), threshold=threshold)
        size = whole_number("batch_size", batch_size, most=MOST_TOGETHER)
        check_long(long)
        check_several(inputs)
        input_options = InputOptions(long, flag("is_split_into_words", is_split_into_words))
        texts = self.texts
        texts.explain({}, request, size)  # what does not fit the model is an error of the call

        def results() -> Iterator[Attribution | Failure]:
            items = iter(inputs)
            while ahead := list(islice(items, _AHEAD * size)):
                explained = texts.explain_all(ahead, input_options, request, size)
                for item, result in zip(ahead, explained, strict=True):
                    yield result if isinstance(result, Attribution) else Failure(item, result)

        return results()

    def _method(self, method: str | None) -> str:
        return self.methods[0] if method is None else one_of("method", method, self.methods)
