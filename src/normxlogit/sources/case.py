"""An answer and the sources of its prompt, in tokens: what a method of sources gets."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from normxlogit.generation.texts import Generator
from normxlogit.results.base import Floats
from normxlogit.sources.ablation import Ablation, TokenSpan
from normxlogit.text.encoded import Encoded


@dataclass(frozen=True)
class Case:
    """An answer to be explained by the sources of its prompt.

    Attributes:
        generator: has the `model`, its `encoder`, and `continued`, which explains an answer by any
            method of tokens.
        prompt: the prompt's text and tokens.
        ids: the ids of its tokens.
        answer: the answer's text.
        answer_ids: the ids of its tokens, the end token too.
        spans: the numbers of the answer's tokens in each span of it, ascending.
        sources: the first token and last + 1 of each source in the prompt, in order; they do not
            overlap.
        sentences: the same of the sentences of each source.
        ablation: the answer's log-probabilities with parts of the prompt removed; counts passes.
    """

    generator: Generator
    prompt: Encoded
    ids: tuple[int, ...]
    answer: str
    answer_ids: tuple[int, ...]
    spans: tuple[NDArray[np.intp], ...]
    sources: tuple[TokenSpan, ...]
    sentences: tuple[tuple[TokenSpan, ...], ...]
    ablation: Ablation

    def logprobs(self, removed: Sequence[Sequence[TokenSpan]]) -> Floats:
        """Return the log-probability of each span of the answer with parts of the prompt removed.

        Args:
            removed: for each row the parts that are removed; none for the whole prompt.

        Returns:
            float32 [rows, spans], in nats: the sum over a span's tokens, each given the answer
            before it.
        """
        tokens = self.ablation.logprobs(removed).cpu().numpy()  # [rows, answer tokens]
        return np.stack([tokens[:, numbers].sum(1) for numbers in self.spans], 1)
