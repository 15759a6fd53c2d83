"""Questions with documents, made from a seed.

Each document is about one person, village, ship, ... and has one to three sentences; a question has
five to ten documents, in any order. In many questions one of them states, of something else, what
is asked for, so that to find the kind of fact is not enough.
"""

from random import Random

from normxlogit.data.option_checks import whole_number
from normxlogit.errors import OptionError
from normxlogit.evaluation.sources.facts import FACTS, PARTS, PEOPLE, Part, Relation
from normxlogit.evaluation.sources.questions import GoldQuestion

KINDS = {
    "fact": "one document states what is asked for",
    "number": "the same, and it is a number",
    "lookalike": "so does another of a person with the same first or last name",
    "two_hop": "one document says who is asked about, another states the answer",
    "knowledge": "no document answers what a model may know by itself",
    "unanswered": "no document is about whom is asked",
}
"""The kinds of questions."""
_TURNS = (
    "fact",
    "number",
    "lookalike",
    "knowledge",
    "fact",
    "two_hop",
    "number",
    "lookalike",
    "unanswered",
    "fact",
)
"""The kinds that questions have in turn."""
_COUNTS = (5, 5, 6, 6, 7, 8, 10)
"""Numbers of documents, each as likely as it is often here."""
_LENGTHS = (1, 1, 1, 2, 2, 3)
"""Numbers of sentences of a document, each as likely as it is often here."""


def make_questions(count: int, seed: int = 0, part: str = "test") -> list[GoldQuestion]:
    """Make questions; the first ones are the same however many there are.

    Args:
        count: how many.
        seed: of all that is drawn.
        part: "fit" or "test", which share neither names nor facts.

    Raises:
        OptionError: an argument is out of range.
    """
    whole_number("count", count)
    whole_number("seed", seed, least=0)
    if part not in PARTS:
        raise OptionError(f"part must be one of {', '.join(PARTS)}; got {part!r:.80}.")
    return [
        _Maker(FACTS[part], Random(f"{part} {seed} {number}")).make(number)
        for number in range(count)
    ]


class _Maker:
    """Makes one question. No name and no value comes twice in it, unless it is to."""

    def __init__(self, facts: Part, random: Random) -> None:
        self._facts, self._random = facts, random
        self._used: set[str] = set()
        self._documents: list[list[str]] = []
        self._gold: list[str] = []
        """Sentences; each is in one document only, as its name is."""

    def make(self, number: int) -> GoldQuestion:
        """Make the question of a number, by which it has its kind."""
        kind = _TURNS[number % len(_TURNS)]
        if kind == "knowledge":
            known = self._facts.knowledge
            turn = number // len(_TURNS)
            question, answer = known[turn % len(known)]
            self._used.update(answer.split("|"))
        else:
            question, answer = self._ask(kind)
        count = self._random.choice(_COUNTS)
        while len(self._documents) < count:
            about = self._random.choice((PEOPLE, PEOPLE, *self._facts.places))
            self._add(about, self._name(about))
        self._random.shuffle(self._documents)
        texts = tuple(" ".join(sentences) for sentences in self._documents)
        places = [
            (document, texts[document].index(sentence), sentence)
            for document, sentences in enumerate(self._documents)
            for sentence in sentences
            if sentence in self._gold
        ]
        return GoldQuestion(
            question,
            texts,
            tuple(document for document, _, _ in places),
            tuple((document, start, start + len(text)) for document, start, text in places),
            None if kind == "unanswered" else answer,
            kind,
        )

    def _ask(self, kind: str) -> tuple[str, str]:
        """Ask for a fact, and write the documents that bear on it; return question and answer."""
        of_kind = self._facts.numbers if kind == "number" else self._relations
        may_be_place = kind in ("fact", "number", "unanswered")
        about = self._random.choice(list(of_kind)) if may_be_place else PEOPLE
        relation = self._random.choice(of_kind[about])
        name = asked = self._name(about)
        value = self._value(relation)
        if kind != "unanswered":
            self._gold.append(relation.statement.format(name=name, value=value))
            self._add(about, name, relation, self._gold[0])
        needs_rival = kind in ("lookalike", "two_hop")
        rivals = [
            self._name(about) for _ in range(1 if needs_rival else self._random.choice((0, 1)))
        ]
        if kind == "lookalike":
            rivals = [self._alike(name)]
        for rival in rivals:
            stated = relation.statement.format(name=rival, value=self._value(relation))
            self._add(about, rival, relation, stated)
        if kind == "two_hop":
            kin, (asked_of, other) = self._random.choice(self._facts.kin), self._two()
            asked = f"the {kin} of {asked_of}"
            self._gold.append(f"The {kin} of {asked_of} is {name}.")
            self._add(about, asked_of, relation, self._gold[1])
            self._add(about, other, relation, f"The {kin} of {other} is {rivals[0]}.")
        return relation.question.format(name=asked), value

    @property
    def _relations(self) -> dict[str, tuple[Relation, ...]]:
        return {PEOPLE: self._facts.of_people, **self._facts.of_places}

    def _add(
        self, about: str, name: str, asked: Relation | None = None, first: str | None = None
    ) -> None:
        """Add a document about a name: a sentence if one is given, and others that it needs.

        The others state something else than what is asked for.
        """
        count = self._random.choice(_LENGTHS)
        sentences = [] if first is None else [first]
        others = [
            relation
            for relation in self._relations[about]
            if relation != asked and not self._used.issuperset(relation.values)
        ]
        self._random.shuffle(others)
        sentences += [
            relation.statement.format(name=name, value=self._value(relation))
            for relation in others[: max(0, count - len(sentences))]
        ]
        self._random.shuffle(sentences)
        self._documents.append(sentences)

    def _name(self, about: str) -> str:
        if about == PEOPLE:
            return " ".join(self._fresh(names) for names in (self._facts.first, self._facts.last))
        return self._fresh(self._facts.places[about])

    def _two(self) -> tuple[str, str]:
        return self._name(PEOPLE), self._name(PEOPLE)

    def _alike(self, name: str) -> str:
        """Name a person with the same first or the same last name."""
        first, last = name.split(" ")
        if self._random.random() < 0.5:
            return f"{first} {self._fresh(self._facts.last)}"
        return f"{self._fresh(self._facts.first)} {last}"

    def _value(self, relation: Relation) -> str:
        return self._fresh(relation.values)

    def _fresh(self, choices: tuple[str, ...]) -> str:
        """Choose what is not in the question yet."""
        chosen = self._random.choice([choice for choice in choices if choice not in self._used])
        self._used.add(chosen)
        return chosen
