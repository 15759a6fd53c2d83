"""Verify an attribution on its own text: what the model does with words hidden, against the scores.

It answers for this text alone, and needs no label; what holds for a method over many texts is
measured by `Explainer.evaluate`.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from normxlogit.data.option_checks import check_type
from normxlogit.errors import InputError, ModelError, OptionError, UnsupportedHeadError
from normxlogit.evaluation.metrics.faithfulness import Floats
from normxlogit.evaluation.perturb.operators import find_operator, hiding_of
from normxlogit.evaluation.perturb.predictions import Outputs, PredictionCache
from normxlogit.evaluation.perturb.presets import Corrected
from normxlogit.evaluation.perturb.rankings import hidden_sets, rank_units
from normxlogit.evaluation.perturb.samples import Sample, renumbered
from normxlogit.evaluation.perturb.word_sets import Sets, count_every, draw_sets, every_set
from normxlogit.model.forward import ForwardPass
from normxlogit.model.inference import inference
from normxlogit.model.readouts import READOUTS
from normxlogit.model.targets import Problem, label_names, target_id
from normxlogit.results.base import Result
from normxlogit.results.text import Attribution
from normxlogit.results.verification import MOST, Verification
from normxlogit.tasks import Task
from normxlogit.tasks.explainer import ModelExplainer

SETS = 32
"""How many random sets of words additive scores are held against."""

SAME_LOGITS = 0.02
"""By how much of the largest logit those of an attribution may differ from the model's: it may have
been made on another device, or in another dtype."""


def verify(explainer: ModelExplainer, attribution: Result) -> Attribution:
    """Return a copy of an attribution with its verifications; see `Explainer.verify`."""
    attribution = _servable(explainer, attribution)
    sample = _read(explainer, attribution)
    scores = _word_scores(explainer, attribution, sample)  # [targets, words]
    _check_same_model(explainer, attribution, sample.output)
    encoder = explainer.encoder()
    name, operator = find_operator(hiding_of(encoder, sample), encoder)
    cache = PredictionCache(explainer.model, encoder, Tensor.float, operator)
    trials = [_Trial.of(sample, of_words) for of_words in scores]
    shown = random_sets(sample.count, SETS if attribution.base is not None else 0)
    hidden = [part for trial in trials for part in (trial.hidden, ~trial.hidden)]
    *outputs, of_sets = cache.predict([(sample, part) for part in (*hidden, ~shown)])
    if name == "remove":
        _check_heeded(explainer, sample, [*outputs, of_sets])
    verifications = []
    for number, (target, trial) in enumerate(zip(attribution.targets, trials, strict=True)):
        without, alone = (
            _amounts(attribution, part)[:, target.id].tolist()
            for part in outputs[2 * number : 2 * number + 2]
        )
        explained, shuffled = _variances(
            attribution.at(number), scores[number], sample, shown, of_sets
        )
        verifications.append(
            Verification(
                operator=name,
                words=sample.count,
                top=trial.top,
                whole=float(_amounts(attribution, sample.output)[target.id]),
                without_top=without[0],
                top_alone=alone[0],
                random_without=tuple(without[1:]),
                random_alone=tuple(alone[1:]),
                sets=0 if explained is None else len(shown),
                explained_variance=explained,
                shuffled_variance=shuffled,
                passes=1 + cache.forwards,
            )
        )
    return replace(attribution, verifications=tuple(verifications))


def count_top(scores: Floats) -> int:
    """How many words to hide together: the fewest that carry half of all positive scores.

    From 1 to `MOST`, and not all words unless there is but one. The sentence that a picture leads
    with names words by another rule: it passes over function words, and names none where none
    stands out. What is put to the test here is the ranking as the method gives it, whatever its
    first words are, and there has to be a first one.

    Args:
        scores: of the words, [words].
    """
    positive = -np.sort(-scores[scores > 0])
    half = int(np.searchsorted(positive.cumsum(), positive.sum() / 2)) + 1
    return max(1, min(half, MOST, len(scores) - 1))


def random_sets(words: int, count: int) -> Sets:
    """Draw sets of words, neither none nor all: first a size, all alike likely, then a set of it.

    If there are no more than `count` such sets, these are all of them.
    """
    if words <= 1 or not count:
        return np.zeros((0, words), np.bool_)
    if count_every(words) <= count:
        return every_set(words)
    generator = np.random.default_rng(0)
    return draw_sets(generator.integers(1, words, count), words, generator)


def explained_variance(outcomes: Floats, estimates: Floats) -> float | None:
    """The share of the variance of outcomes that estimates explain; None if there is none.

    Args:
        outcomes, estimates: [sets].
    """
    if not len(outcomes):
        return None
    total = np.square(outcomes - outcomes.mean()).sum()
    # What float32 makes of a model's output that does not move at all.
    if total <= len(outcomes) * (1e-5 * np.abs(outcomes).max()) ** 2:
        return None
    return float(1 - np.square(outcomes - estimates).sum() / total)


@dataclass(frozen=True, eq=False)
class _Trial:
    """The words that are hidden for a target.

    Attributes:
        top: those with the highest scores, as text.
        hidden: these, and then for each random order as many of its first, bool [1 + orders,
            words].
    """

    top: tuple[str, ...]
    hidden: Sets

    @classmethod
    def of(cls, sample: Sample, scores: Floats) -> "_Trial":
        preset, count, names = Corrected(), count_top(scores), sample.names()
        ranked = rank_units(scores)
        orders = [ranked, *(preset.draw(sample, 0, draw) for draw in range(preset.draws))]
        hidden = np.concatenate([hidden_sets(order, [count]) for order in orders])
        return cls(tuple(names[n] for n in ranked[:count]), hidden)


def _servable(explainer: ModelExplainer, attribution: Result) -> Attribution:
    """Return the attribution, if words of its text can be hidden from this model.

    Raises:
        OptionError, ModelError, InputError: they cannot.
    """
    check_type("the attribution to verify", attribution, Result)
    if explainer.task is not Task.TEXT:
        raise ModelError(
            "verify hides words from classifiers and regressions of texts; "
            f"{type(explainer.model).__name__} is for {explainer.task.value}."
        )
    if attribution.kind != "text" or not isinstance(attribution, Attribution):
        raise _another(explainer, attribution, f"it explains {attribution.kind}")
    if attribution.messages:
        raise InputError("verify takes texts and pairs; this attribution is of a chat.")
    if attribution.unit not in ("token", "word"):
        raise OptionError(
            f"verify hides words, and these scores are of {attribution.unit}s. Verify the "
            "attribution first, then sum it."
        )
    if len(attribution.layers) > 1:
        raise OptionError(
            "verify takes one layer, and these scores are of several. Use a.select(layer=...)."
        )
    return attribution


def _read(explainer: ModelExplainer, attribution: Attribution) -> Sample:
    """Read the text again, with the model's logits for it as its output."""
    texts = attribution.texts
    item = texts if len(texts) > 1 else texts[0]
    encoded = explainer.encoder().encode(item, long="truncate", has_windows=False)
    with inference():
        batch = explainer.encoder().batch(encoded.windows, "right")
        forward = ForwardPass.run(explainer.model, batch)
    whole: Outputs = forward.prediction[0].double().cpu().numpy()
    return Sample(0, item, encoded, renumbered(encoded.units("word")), whole, None)


def _check_same_model(explainer: ModelExplainer, attribution: Attribution, whole: Outputs) -> None:
    """Raise `InputError` unless the attribution's prediction is what the model says of the text."""
    config, outputs = explainer.model.config, attribution.prediction.outputs
    problem = Problem.of(config, len(whole))
    labels = list(label_names(config, problem, len(whole)))
    if [output.label for output in outputs] != labels:
        raise _another(explainer, attribution, "they have other labels")
    if attribution.prediction.problem != problem.value:
        raise _another(explainer, attribution, f"it is for {attribution.prediction.problem}")
    logits = np.array([output.logit for output in outputs])
    difference, largest = np.abs(logits - whole).max(), np.abs(whole).max()
    if difference > SAME_LOGITS * max(1.0, largest):
        raise _another(
            explainer, attribution, f"their logits for the text differ by {difference:.3g}"
        )


def _another(explainer: ModelExplainer, attribution: Result, why: str) -> InputError:
    provenance = attribution.provenance
    return InputError(
        f"this attribution is not one that {explainer.name} ({type(explainer.model).__name__}) can "
        f"verify: it was made by {provenance.model} ({provenance.architecture}), and {why}. Verify "
        "it with the explainer that made it, as it was read there."
    )


def _word_scores(
    explainer: ModelExplainer, attribution: Attribution, sample: Sample
) -> NDArray[np.float64]:
    """The scores of the words that may be hidden, [targets, words]; nan where there is none.

    Raises:
        InputError: the attribution has other words, such as those of several windows.
    """
    encoded = sample.encoded
    read = replace(
        attribution,
        tokens=encoded.tokens,
        scores=np.zeros(len(encoded), np.float32),
        axes=(),
        special=encoded.special,
        offsets=encoded.offsets,
        segments=encoded.segments,
        word_numbers=encoded.words,
        unit="token",
    ).words()
    places = _places(read)
    words = attribution.words()
    scored = _places(words)
    # A decoder's tokens are the text's, shifted to the right by one: the last may be missing.
    if scored not in (places, places[:-1]):
        raise _another(
            explainer, attribution, "its words are not those that this model reads in one window"
        )
    numbers = read.word_numbers[~read.special][: len(scored)]
    scores = np.full((len(words.targets), sample.count), np.nan)
    scores[:, np.searchsorted(np.unique(encoded.words[~encoded.special]), numbers)] = (
        words.scores.reshape(len(words.targets), -1)[:, ~words.special]
    )
    return scores


def _places(words: Attribution) -> list[tuple[int, int, int]]:
    """The text, first character and last + 1 of each word that is not special, in their order."""
    places = np.column_stack([words.segments, words.offsets])[~words.special]
    return [(segment, start, end) for segment, start, end in places.tolist()]


def _amounts(attribution: Attribution, logits: Outputs) -> Floats:
    """Probabilities, or the values of a regression, [..., outputs]."""
    problem = Problem(attribution.prediction.problem)
    amounts: Floats = problem.probabilities(torch.from_numpy(logits)).double().numpy()
    return amounts


def _check_heeded(explainer: ModelExplainer, sample: Sample, outputs: list[Outputs]) -> None:
    """Raise `UnsupportedHeadError` if the model says the same whatever words are hidden."""
    moved = np.abs(np.concatenate(outputs) - sample.output).max()
    if moved <= 1e-6 * np.abs(sample.output).max():
        raise UnsupportedHeadError(
            f"hiding words by the attention mask changes nothing: {type(explainer.model).__name__} "
            "does not heed it, and its tokenizer has no mask token to put in their place. There "
            "is no other way to verify."
        )


def _variances(
    attribution: Attribution, scores: Floats, sample: Sample, shown: Sets, outputs: Outputs
) -> tuple[float | None, float | None]:
    """The variance that additive scores explain, and the mean of it with the scores dealt out anew.

    Args:
        attribution: of one target.
        scores: of its words, [words].
        sample: the text.
        shown: sets of words, [sets, words].
        outputs: the model's logits with all others hidden, [sets, outputs].
    """
    if attribution.base_value is None:
        return None, None
    outcomes, parts = _readouts(attribution, sample, outputs), np.nan_to_num(scores)
    preset = Corrected()
    dealt = [parts[preset.draw(sample, 0, draw)] for draw in range(preset.draws)]
    explained, *shuffled = (
        explained_variance(outcomes, attribution.base_value + shown @ part)
        for part in (parts, *dealt)
    )
    if explained is None:
        return None, None
    return explained, float(np.mean([share for share in shuffled if share is not None]))


def _readouts(attribution: Attribution, sample: Sample, logits: Outputs) -> Floats:
    """What additive scores add up to, for each of several outputs of the model: [sets]."""
    problem, readout = Problem(attribution.prediction.problem), attribution.provenance.readout
    assert readout is not None
    target, contrast = attribution.target.id, attribution.provenance.contrast
    if readout == "closeness":
        distance: Floats = np.abs(logits[:, target] - sample.output[target])
        return -distance

    def of_label(number: int) -> Floats:
        ids = torch.full((len(logits), 1), number)
        values = READOUTS[problem][readout].of_outputs(torch.from_numpy(logits), ids)
        of_sets: Floats = values[:, 0].numpy()
        return of_sets

    if contrast is None:
        return of_label(target)
    labels = [output.label for output in attribution.prediction.outputs]
    return of_label(target) - of_label(target_id(contrast, labels))
