"""From the scores of new tokens to the result of a sequence."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from normxlogit.generation.recording import Generated
from normxlogit.query import ScoredBatch
from normxlogit.results.assemble import result_fields
from normxlogit.results.base import Floats, Provenance
from normxlogit.results.generation import GenerationAttribution
from normxlogit.results.prediction import Prediction, Target
from normxlogit.results.windows import WindowScores
from normxlogit.text.encoded import Encoded
from normxlogit.text.encoder import Encoder
from normxlogit.text.words import word_numbers


@dataclass(frozen=True)
class Continuation:
    """New tokens, and what they continue.

    Attributes:
        prompt: the prompt's text and tokens.
        before: the ids that the model continued: the prompt's, or its decoder's first ones.
        new: the ids of the new tokens.
        is_cut: whether the model would have said more, had it not reached a limit of tokens.
    """

    prompt: Encoded
    before: Sequence[int]
    new: Sequence[int]
    is_cut: bool = False


def generation_attribution(
    encoder: Encoder,
    continuation: Continuation,
    generated: Generated,
    scored: ScoredBatch,
    row: int,
    provenance: Provenance,
) -> GenerationAttribution:
    """The result for one row of a batch.

    Args:
        encoder: turns ids into text.
        continuation: the row's tokens. The last of the new ones are explained, as many as
            `generated` has.
        generated: the forward pass of the batch.
        scored: its scores.
        row: the row's number.
        provenance: what made the scores.
    """
    prompt, before, new = continuation.prompt, continuation.before, continuation.new
    has_encoder = scored.forward.sources > 0
    explained = min(len(new), generated.logits.shape[1])
    first = len(new) - explained
    # Tokens: the prompt's; of an encoder-decoder those that its decoder starts with; the new ones.
    starts = len(before) if has_encoder else 0
    text, offsets = encoder.answer(new)
    new_special = np.array([encoder.is_special(number) for number in new])
    tokens = (*prompt.tokens, *map(encoder.token, before[:starts]), *map(encoder.token, new))
    special = prompt.special.copy()
    if not has_encoder:
        prompt_mask = scored.forward.mask[row, : generated.sinks.shape[1]]
        special |= generated.sinks[row, prompt_mask].cpu().numpy()
    new_words = word_numbers(
        (text,), offsets, [-1 if s else 0 for s in new_special], [None] * len(new)
    )
    after_prompt = int(prompt.words.max(initial=-1)) + 1
    # A new token is predicted at the token before it.
    positions = range(len(tokens) - explained - 1, len(tokens) - 1)
    targets = tuple(
        Target(
            label=encoder.text_of([number]),
            id=number,
            logit=float(generated.logits[row, n]),
            probability=float(generated.probabilities[row, n]),
            position=positions[n],
        )
        for n, number in enumerate(new[first:])
    )
    kept = _kept(scored, row, len(before) + len(new) - 1)
    values, norms = scored.values, scored.norms
    row_scores = WindowScores(
        scores=_scores_of(scored.scores[row, :explained], kept),
        values=None if values is None else _scores_of(values[row, :explained], kept),
        norms=None if norms is None else _scores_of(norms[row], kept),
        base=None if scored.base is None else scored.base[row, :explained].tolist(),
        notes={name: note[row][:explained].tolist() for name, note in scored.notes.items()},
    )
    prediction = Prediction(scored.forward.problem.value, targets, ())
    return GenerationAttribution(
        texts=(prompt.texts[0], text),
        tokens=tokens,
        special=np.concatenate([special, np.ones(starts, np.bool_), new_special]),
        offsets=np.concatenate(
            [prompt.offsets, np.array([*[(0, 0)] * starts, *offsets], np.int32).reshape(-1, 2)]
        ),
        segments=np.concatenate(
            [prompt.segments, np.full(starts, -1), np.where(new_special, -1, 1)]
        ).astype(np.int32),
        word_numbers=np.concatenate(
            [
                prompt.words,
                np.full(starts, -1),
                np.where(new_words < 0, -1, new_words + after_prompt),
            ]
        ).astype(np.int32),
        messages=prompt.messages,
        answer_offsets=np.array(offsets, np.int32).reshape(-1, 2)[first:],
        answer_special=new_special[first:],
        cut_after=len(new) if continuation.is_cut else None,
        **result_fields(scored, row_scores, prediction, targets, provenance),
    )


def _kept(scored: ScoredBatch, row: int, length: int) -> NDArray[np.bool_]:
    """Which positions of a batch hold this row's tokens, bool [sequence].

    Rows that ended earlier than others have positions for tokens that they do not have: only
    `length` of those that follow the source's count.
    """
    kept: NDArray[np.bool_] = scored.forward.mask[row].cpu().numpy().copy()
    kept[scored.forward.sources + length :] = False
    return kept


def _scores_of(values: Tensor, kept: NDArray[np.bool_]) -> Floats:
    """Numbers of a row's tokens, [..., tokens]; nan for the last, which the model never read."""
    array: Floats = values.float().cpu().numpy()[..., kept]
    last = np.full((*array.shape[:-1], 1), np.nan, np.float32)
    return np.concatenate([array, last], -1)
