"""Texts explained by a graph, in batches; torch is not needed."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normxlogit.errors import (
    InputError,
    ModelError,
    NormXLogitError,
    OptionError,
    without_traceback,
)
from normxlogit.exporting.manifest import GRAPH, TOKENIZER, WORDS, Manifest
from normxlogit.exporting.running.answers import Answers, Outputs
from normxlogit.exporting.running.sessions import open_session
from normxlogit.exporting.running.tokenizer_file import TokenizerFile
from normxlogit.extras import VERSION
from normxlogit.methods.request import Request
from normxlogit.results.text import Attribution
from normxlogit.tasks import InputOptions, TaskExplainer
from normxlogit.text.encoded import Encoded, Window
from normxlogit.text.lengths import TOKENS, by_length

_OF_TOKENS = ("scores", "readouts", "norms", "head_scores")

Row = tuple[Encoded, Window]
"""A text, and the window of it that a row of a batch holds."""


class GraphTexts(TaskExplainer):
    """Encodes texts and explains them by a graph; several threads may use it at once.

    Attributes:
        manifest: what the folder says of the model.
        runtime: what runs the graph.
        precision: what it computes in.
        versions: of what made an explanation, by package.
    """

    def __init__(
        self, folder: Path, runtime: str, *, bfloat16: bool = False, streams: int = 1
    ) -> None:
        """Load a folder.

        Args:
            folder: what `export` wrote.
            runtime: "onnx" or "openvino".
            bfloat16: let the runtime compute in bfloat16.
            streams: how many threads explain at a time, among which the processor is divided.

        Raises as `load_exported`.
        """
        self.manifest, self.runtime = Manifest.read(folder), runtime
        if (runtime, self.manifest.precision) == ("openvino", "int8"):
            raise OptionError(
                "OpenVINO does not run the operators of a graph in int8. Take runtime='onnx', or "
                "export the model in float32 and let OpenVINO compute in bfloat16, which is faster."
            )
        self._session = open_session(
            runtime, folder / GRAPH, self.manifest.outputs, bfloat16=bfloat16, streams=streams
        )
        stored = self.manifest.precision
        in_bfloat16 = "bfloat16" if stored == "float32" else f"{stored} and bfloat16"
        self.precision = in_bfloat16 if bfloat16 else stored
        self.versions = {"normxlogit": VERSION, **self._session.version}
        self._reader = TokenizerFile(folder / TOKENIZER, self.manifest.text)
        self._reads_words = WORDS in self._session.inputs

    def encode(self, item: Any, input_options: InputOptions) -> Encoded:
        """Turn a text or a pair into tokens.

        Raises:
            InputError: it cannot be explained.
            OptionError: there is no such way with long texts.
        """
        return self._reader.encode(
            item,
            is_split_into_words=input_options.is_split_into_words,
            long=input_options.long,
        )

    def explain(
        self, items: Mapping[int, Encoded], query: Request, batch_size: int
    ) -> dict[int, Attribution | NormXLogitError]:
        """Explain texts by their windows, those of like length together.

        Returns:
            For each text its attribution, or the reason why there is none.

        Raises:
            OptionError: the request does not fit the model.
        """
        made_by = {"dtype": self.precision, "versions": self.versions}
        answers = Answers(self.manifest, query, made_by)
        rows = [(text, window) for text in items.values() for window in text.windows]
        keys = [key for key, text in items.items() for _ in text.windows]

        def length(number: int) -> int:
            return len(rows[number][1])

        of_rows: dict[int, Outputs | NormXLogitError] = {}
        for batch in by_length(
            sorted(range(len(rows)), key=length),
            length,
            lambda count, longest: count <= batch_size and count * longest <= batch_size * TOKENS,
            padded=0.0 if self.manifest.text.side is None else float("inf"),
        ):
            outputs = self._outputs([rows[number] for number in batch], answers.reads)
            of_rows |= zip(batch, outputs, strict=True)
        of_texts: dict[int, list[Outputs | NormXLogitError]] = {key: [] for key in items}
        for number, key in enumerate(keys):
            of_texts[key].append(of_rows[number])
        return {key: _answered(answers, text, of_texts[key]) for key, text in items.items()}

    def _outputs(
        self, rows: Sequence[Row], names: Sequence[str]
    ) -> list[Outputs | NormXLogitError]:
        """Run the graph on windows of texts; by halves where it fails, down to one of them."""
        try:
            return list(self._run(rows, names))
        except ModelError as error:
            if len(rows) == 1:
                return [without_traceback(error)]
        half = len(rows) // 2
        return [*self._outputs(rows[:half], names), *self._outputs(rows[half:], names)]

    def _run(self, rows: Sequence[Row], names: Sequence[str]) -> Iterator[Outputs]:
        """Run the graph on windows of texts; yield the outputs of each, without padding.

        Raises:
            ModelError: the runtime fails.
        """
        inputs = self._reader.batch([window for _, window in rows])
        width = inputs["input_ids"].shape[1]
        if self._reads_words:
            words = np.full((len(rows), width), -1, np.int64)
            for row, (text, window) in zip(words, rows, strict=True):
                row[self._reader.place(window, width)] = _words(text, window)
            inputs[WORDS] = words
        outputs = self._session.run(inputs, names)
        for number, (_, window) in enumerate(rows):
            place = self._reader.place(window, width)
            # Copied, or a result would hold on to its whole batch.
            yield {
                name: (values[number][..., place] if name in _OF_TOKENS else values[number]).copy()
                for name, values in outputs.items()
            }


def _words(text: Encoded, window: Window) -> NDArray[np.int64]:
    """The number of the word of each token of a window, [tokens]; -1 for special tokens."""
    words: NDArray[np.int64] = np.where(text.special, -1, text.words)[window.positions]
    return words.astype(np.int64)


def _answered(
    answers: Answers, text: Encoded, outputs: Sequence[Outputs | NormXLogitError]
) -> Attribution | NormXLogitError:
    """The attribution of a text, or why there is none."""
    whole: list[Outputs] = []
    for window in outputs:
        if isinstance(window, NormXLogitError):
            return window
        whole.append(window)
    try:
        return answers.answer(text, whole)
    except (InputError, ModelError) as error:
        return without_traceback(error)
