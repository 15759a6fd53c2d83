"""Multiple choice: a text, and continuations of which the model picks one."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from normxlogit.errors import InputError, OptionError
from normxlogit.model.forward import ForwardPass
from normxlogit.model.inference import inference
from normxlogit.model.targets import TargetIds, fitting
from normxlogit.query import Query
from normxlogit.results.assemble import attribution, provenance_of, window_scores
from normxlogit.results.prediction import Prediction, Target
from normxlogit.results.text import Attribution
from normxlogit.tasks import InputOptions, TaskExplainer
from normxlogit.tasks.batches import Explained
from normxlogit.tasks.splitting import explain_or_split
from normxlogit.text.encoded import Encoded
from normxlogit.text.encoder import Encoder


@dataclass(frozen=True)
class Choices:
    """The pairs of a text with each of its choices, in tokens."""

    pairs: tuple[Encoded, ...]

    @property
    def names(self) -> list[str]:
        """The texts of the choices."""
        return [pair.texts[1] for pair in self.pairs]


class MultipleChoice(TaskExplainer):
    """Explains which choice a model makes.

    Each choice is read with its own copy of the text, so only the target's tokens have scores. A
    contrast subtracts what the text's tokens say for the other choice; the tokens of the choice
    itself, which the other does not read, keep their scores.
    """

    def __init__(self, model: PreTrainedModel, encoder: Encoder, name: str) -> None:
        self.model, self.encoder, self.name = model, encoder, name

    def encode(self, item: Any, input_options: InputOptions) -> Choices:
        """A tuple of a text and a list of choices, in tokens."""
        if input_options.long == "window" or input_options.position is not None:
            raise OptionError("long='window' and position do not apply to multiple choice.")
        is_pair = isinstance(item, tuple) and len(item) == 2
        if not is_pair or not isinstance(item[1], (list, tuple)) or len(item[1]) < 2:
            raise InputError("give a text and its choices: (text, [choice, choice, ...]).")
        text, choices = item
        return Choices(
            tuple(
                self.encoder.encode(
                    (text, choice),
                    is_split_into_words=input_options.is_split_into_words,
                    long=input_options.long,
                    has_windows=False,
                )
                for choice in choices
            )
        )

    def explain(
        self, items: Mapping[int, Choices], query: Query, _batch_size: int
    ) -> dict[int, Explained]:
        """An attribution for each item, or the reason why there is none."""
        return {
            key: explain_or_split([item], lambda items: [self._explained(items[0], query)])[0]
            for key, item in items.items()
        }

    @inference()
    def _explained(self, item: Choices, query: Query) -> Attribution:
        windows, names = [pair.windows[0] for pair in item.pairs], item.names
        rows = self.encoder.batch(windows, "right")
        inputs = {key: value[None] for key, value in rows.items()}  # [1, choices, sequence]
        is_all = isinstance(query.target, str) and query.target == "all"
        if is_all or isinstance(query.target, (list, tuple)):
            raise OptionError(
                "each choice has tokens of its own, so one is explained at a time: name one, by "
                "its text or its number."
            )
        if query.target is not None:
            query = replace(query, target=_number_of(query.target, names))
        foil = None if query.contrast is None else _number_of(query.contrast, names)
        query = replace(query, contrast=None)
        forward = ForwardPass.run(self.model, inputs, layer=query.layer)
        lookup = self.encoder.lookup([(p, p.windows[0]) for p in item.pairs], "right")
        scored = query.score(forward, targets := query.targets(forward), lookup)
        chosen = int(targets.ids[0, 0])
        if foil is not None and scored.readout is None:
            raise OptionError(
                f"method {query.method!r} scores tokens whatever the target is, so it has no "
                "contrast. Leave it out."
            )
        if foil is not None:
            other = query.score(forward, TargetIds(targets.ids.new_full((1, 1), foil)), lookup)
            pair, other_pair = item.pairs[chosen], item.pairs[foil]
            scored = scored.less(other, _shared(pair, other_pair, names[chosen], foil == chosen))
        logits = forward.prediction[0].float()
        probabilities = logits.softmax(-1)
        outputs = tuple(
            Target(name, i, float(logits[i]), float(probabilities[i]))
            for i, name in enumerate(names)
        )
        prediction = Prediction(forward.problem.value, (outputs[int(logits.argmax())],), outputs)
        contrast = None if foil is None else names[foil]
        return attribution(
            item.pairs[chosen],
            scored,
            window_scores(scored, [len(windows[chosen])], "right"),
            prediction,
            [outputs[chosen]],
            provenance_of(self.model, self.name, scored, contrast),
        )


def _shared(pair: Encoded, other: Encoded, name: str, same: bool) -> int:
    """How many first tokens two choices share: the text, which is before each.

    Raises:
        OptionError: they are one choice.
        InputError: the text is not the same to both, as when it was cut for one of them.
    """
    if same:
        raise OptionError(
            f"the target and the contrast are both {name!r}, which leaves nothing to explain. "
            "Name another target or contrast."
        )
    first = int(np.flatnonzero(pair.segments == 1)[0])
    if pair.tokens[:first] != other.tokens[:first]:
        raise InputError(
            "the text is not the same to both choices, for it was cut or joined differently, so "
            "its tokens cannot be contrasted. Explain the choices one after the other."
        )
    return first


def _number_of(target: Any, names: list[str]) -> int:
    """The choice of that text or number.

    Raises:
        InputError: these choices do not have it, or twice.
    """
    numbers = fitting(target, names, range(len(names)))
    if len(numbers) > 1:
        raise InputError(f"{target!r} is {len(numbers)} of the choices: give its number.")
    if not numbers:
        shown = ", ".join(f"{name!r:.40}" for name in names)
        raise InputError(
            f"there is no choice {target!r}. The choices are {shown}; name one by its text or by "
            f"its number, 0 to {len(names) - 1}."
        )
    return numbers[0]
