"""Cues of BLiMP's templates: sentences with known answers, and all of the real ones."""

import copy
import hashlib
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score
from transformers import PreTrainedTokenizerBase

from experiments.paper.cues import marked
from experiments.paper.masked_lm import accuracy, epoch, pairs_of, preferences
from normxlogit import Explainer, InputError
from normxlogit.evaluation import case_of
from normxlogit.evaluation.benchmark.cases import (
    RULES,
    Case,
    expand,
    halves,
    read_cases,
    target_ids,
)
from normxlogit.evaluation.benchmark.readings import (
    Item,
    Read,
    make_items,
)
from normxlogit.evaluation.benchmark.scores import measure
from tests.helpers.blimp import (
    ADJECTIVE,
    ANAPHOR,
    DISTRACTOR,
    NOUN,
    VERB,
    alignment_results,
    language_model,
    target_and_cues,
)
from tests.helpers.builders import KINDS, tokenizer
from tests.helpers.paths import SHARED


@pytest.mark.parametrize(
    ("paradigm", "good", "bad", "target", "cue"),
    [
        (ANAPHOR, "Ada helped herself.", "Ada helped themselves.", "herself", "Ada"),
        (
            ANAPHOR,
            "A lot of bakers can't laugh about themselves.",
            "A lot of bakers can't laugh about itself.",
            "themselves",
            "bakers",
        ),
        (
            ANAPHOR,
            "Harvard University won't trust itself.",
            "Harvard University won't trust themselves.",
            "itself",
            "University",
        ),
        (ANAPHOR, "Bakers hear themselves.", "Bakers hear himself.", "themselves", "Bakers"),
        (NOUN, "Ada buys these cakes.", "Ada buys this cakes.", "these", "cakes"),
        (
            NOUN,
            "Those bakers leave that art gallery.",
            "Those bakers leave those art gallery.",
            "that",
            "gallery",
        ),
        (
            ADJECTIVE,
            "This baker hasn't seen those out in the open movie theaters.",
            "This baker hasn't seen that out in the open movie theaters.",
            "those",
            "theaters",
        ),
        (
            DISTRACTOR,
            "A newspaper article about these bakers hasn't hurt Ada.",
            "A newspaper article about these bakers haven't hurt Ada.",
            "has",
            "article",
        ),
        (
            DISTRACTOR,
            "The aunts of a lot of friends of Ada are baking.",
            "The aunts of a lot of friends of Ada is baking.",
            "are",
            "aunts",
        ),
        (VERB, "Ada bakes a cake.", "Ada bake a cake.", "bakes", "Ada"),
        (
            VERB,
            "A lot of public parks don't grow.",
            "A lot of public parks doesn't grow.",
            "do",
            "parks",
        ),
        (VERB, "Current events annoy Ada.", "Current events annoys Ada.", "annoy", "events"),
        (VERB, "Every high school teaches.", "Every high school teach.", "teaches", "school"),
    ],
)
def test_cues(paradigm: str, good: str, bad: str, target: str, cue: str) -> None:
    case = case_of(good, bad, paradigm)
    assert target_and_cues(case) == (target, [cue])
    assert case.good == target
    assert case.with_target(case.bad).text == expand(bad)
    assert case.cue_comes_first == (paradigm not in (NOUN, ADJECTIVE))


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("Ada can't bake.", "Ada cannot bake."),
        ("Ada won't bake.", "Ada will not bake."),
        ("Ada doesn't and couldn't bake.", "Ada does not and could not bake."),
        ("Ada's wont is baking.", "Ada's wont is baking."),
    ],
)
def test_contractions_are_written_out(short: str, long: str) -> None:
    assert expand(short) == long


@pytest.mark.parametrize(
    ("paradigm", "good", "bad", "says"),
    [
        (VERB, "The cake shop opens.", "The cake shop open.", "does not match the template"),
        (VERB, "Ada and Bob bake.", "Ada and Bob bakes.", "does not match the template"),
        (
            DISTRACTOR,
            "The aunt near Ada bakes.",
            "The aunt near Ada bake.",
            "does not match the template",
        ),
        (NOUN, "Ada eats this cake now", "Ada eats these cake now", "does not match the template"),
        (ANAPHOR, "Ada bakes it now.", "Ada bakes it then and now.", "do not differ in one word"),
        (ANAPHOR, "Ada helped herself.", "Ada helped herself.", "do not differ in one word"),
        ("island_effects", "Ada bakes.", "Ada bake.", "there is no rule for 'island_effects'"),
    ],
)
def test_pairs_that_fit_no_rule_are_refused(paradigm: str, good: str, bad: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        case_of(good, bad, paradigm)


def test_the_noun_of_a_determiner_follows_it_and_ends_the_sentence() -> None:
    noun_of, text = RULES["determiner_noun_agreement_2"], "Cynthia scanned these hard books."
    assert noun_of(text, (16, 21)) == (27, 32)
    assert noun_of(text, (27, 32)) is None
    assert noun_of(f"{text} He left", (16, 21)) is None
    assert noun_of(text[:-1], (16, 21)) is None


def test_another_word_moves_what_follows() -> None:
    case = case_of("Ada buys these nice cakes.", "Ada buys this nice cakes.", ADJECTIVE)
    masked = case.with_target("<mask>")
    assert masked.text == "Ada buys <mask> nice cakes."
    assert target_and_cues(masked) == ("<mask>", ["cakes"])
    assert masked.with_target(case.good) == case
    before = case_of("Ada bakes a cake.", "Ada bake a cake.", VERB)
    assert target_and_cues(before.with_target("[MASK]")) == ("[MASK]", ["Ada"])
    assert before.prefix == "Ada"


def a_case(number: int, paradigm: str) -> Case:
    return Case(f"Ada {number}.", (4, 5), "1", "2", ((0, 3),), paradigm)


@settings(deadline=None)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 3))
def test_halves(one: int, other: int, seed: int) -> None:
    cases = [a_case(n, "one") for n in range(one)] + [a_case(n, "other") for n in range(other)]
    train, test = halves(cases, seed)
    assert sorted([*train, *test], key=cases.index) == cases
    assert [c for c in cases if c in test] == test
    assert Counter(c.paradigm for c in train) == +Counter({"one": one // 2, "other": other // 2})
    alone, _ = halves(cases[:one], seed)
    assert alone == [c for c in train if c.paradigm == "one"]


def test_halves_differ_by_seed() -> None:
    cases = [a_case(n, "one") for n in range(100)]
    found = [halves(cases, seed) for seed in range(3)]
    assert found[0] == halves(cases, 0)
    assert found[0][0] != found[1][0] != found[2][0]
    assert found[0][0] != cases[:50]


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_those_within_the_text(kind: str) -> None:
    words: PreTrainedTokenizerBase = tokenizer(kind)
    case = Case("A the movie.", (2, 5), "the", "it", ((0, 1),), "one")
    ids = target_ids(case, words)
    assert ids is not None
    assert [str(words.decode([number])).strip(" ▁") for number in ids] == ["the", "it"]
    assert ids[0] in words("A the movie.")["input_ids"]
    assert ids[1] in words("A it movie.")["input_ids"]
    for several in ("unbelievably", "the it", "the."):
        torn = Case(case.text, case.target, "the", several, case.cues, "one")
        assert target_ids(torn, words) is None


def test_unknown_words_have_no_id(wordpiece: PreTrainedTokenizerBase) -> None:
    case = Case("A good movie.", (2, 6), "good", "Ω", ((0, 1),), "one")
    assert wordpiece("Ω")["input_ids"][1] == wordpiece.unk_token_id
    assert target_ids(case, wordpiece) is None


def pair(**fields: Any) -> str:
    known = {"sentence_good": "Ada bakes.", "sentence_bad": "Ada bake.", "UID": VERB}
    return json.dumps({**known, **fields})


def test_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / f"{VERB}.jsonl"
    path.write_text(f"{pair()}\n{pair(sentence_good='Bob bakes.', sentence_bad='Bob bake.')}\n")
    for source in (tmp_path, str(tmp_path), tmp_path.as_uri()):
        cases, data = read_cases(source, VERB)
        assert [target_and_cues(case) for case in cases] == [("bakes", ["Ada"]), ("bakes", ["Bob"])]
        assert {case.paradigm for case in cases} == {VERB}
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        size = path.stat().st_size
        assert data == {"files": [{"name": path.name, "bytes": size, "sha256": digest}]}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 2 is not JSON"),
        ("[]", "line 2 is no object of JSON"),
        ('{"sentence_good": "Ada bakes."}', "there is no sentence_bad in this row"),
        (pair(sentence_good=3), "sentence_good is no text but int"),
        (pair(sentence_bad=None), "sentence_bad is null"),
        (pair(sentence_good="So bake bakers."), ".* do not differ in one word"),
    ],
)
def test_rows_that_are_no_pairs_are_named(tmp_path: Path, line: str, says: str) -> None:
    (tmp_path / f"{VERB}.jsonl").write_text(f"{pair()}\n{line}\n")
    with pytest.raises(InputError, match=f"^{VERB}, row 1: {says}") as raised:
        read_cases(tmp_path, VERB)
    assert not str(raised.value).endswith("..")


def test_sources_without_pairs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / f"{VERB}.jsonl"
    path.write_text("")
    sources: dict[Path | str, str] = {
        tmp_path: f"there are no pairs of {VERB} in {tmp_path}",
        path: "there is no file or folder",
        tmp_path / "none": "there is no file or folder",
        str(tmp_path / "none"): "there is no file or folder",
        f"{tmp_path.as_uri()}/none": "there is no file or folder",
    }
    for source, says in sources.items():
        with pytest.raises(InputError, match=says):
            read_cases(source, VERB)
    path.write_text('{"good": "Ada bakes.", "bad": "Ada bake."}')
    with pytest.raises(InputError, match=r"has no column 'sentence_good'\. Its columns: good, bad"):
        read_cases(tmp_path, VERB)


# The determiners and verbs that tell the number of what they go with.
PLURAL = {"these", "those", "are", "were", "have", "do", "themselves"}
SINGULAR = {"this", "that", "is", "was", "has", "does", "herself", "himself", "itself"}
PLURAL_NOUNS = {"people", "children", "men", "women", "fish"}
SINGULAR_NOUNS = {"campus"}


@pytest.mark.shared
@pytest.mark.parametrize("paradigm", RULES)
def test_every_pair_of_blimp(paradigm: str) -> None:
    """Each has its cue on its side of the target, of the number that the target says."""
    path = SHARED / "data" / "blimp" / f"{paradigm}.jsonl"
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    cases, _ = read_cases(path.parent, paradigm)
    assert len(cases) == len(lines) == 1000
    wrong = []
    for case, line in zip(cases, lines, strict=True):
        assert case.with_target(case.bad).text == expand(line["sentence_bad"])
        (cue,) = case.cues
        assert case.cue_comes_first == (paradigm not in (NOUN, ADJECTIVE))
        word = case.text[slice(*cue)]
        if "one_prefix_prefix" in line:
            assert case.prefix == expand(line["one_prefix_prefix"])
        else:
            assert word == line["two_prefix_word"].split()[-1]
            assert (
                case.text[: case.target[1]]
                == expand(line["two_prefix_prefix_good"])[: case.target[1]]
            )
        plural = word in PLURAL_NOUNS or (
            word.endswith("s") and not word.endswith("ss") and word not in SINGULAR_NOUNS
        )
        if case.good in PLURAL | SINGULAR and word[:1].islower():
            wrong += [target_and_cues(case)] * (plural != (case.good in PLURAL))
    assert wrong == []
    train, test = halves(cases)
    assert (len(train), len(test)) == (500, 500)


MADE_UP = [
    Case("The movie is great.", (10, 12), "is", "it", ((4, 9),), VERB),
    Case("I don't like the second movie.", (13, 16), "the", "it", ((24, 29),), NOUN),
    Case("A first movie, the second is good.", (26, 28), "is", "it", ((2, 7), (19, 25)), VERB),
]


@torch.no_grad()
def last_layer(explainer: Explainer, item: Item) -> tuple[Any, Any, Any, Any, Any]:
    """||x^0||, ||x^L|| and the logits of the good and the bad word, by the model; and the tokens'
    places.
    """
    model: Any = explainer.model
    inputs = explainer.tokenizer(item.text, return_tensors="pt", return_offsets_mapping=True)
    places = inputs.pop("offset_mapping")[0].tolist()
    out = model(**inputs, output_hidden_states=True)
    logits = out.logits[0].double().numpy()
    first, last = (out.hidden_states[n][0].norm(dim=-1).double().numpy() for n in (0, -1))
    return first, last, logits[:, item.good], logits[:, item.bad], places


@pytest.mark.parametrize("kind", ["bert", "roberta", "llama"])
def test_readings_of_the_last_layer(kind: str) -> None:
    """The experiment's figures, from the model's own logits and scikit-learn."""
    explainer, causal = language_model(kind), kind == "llama"
    items = make_items(MADE_UP, explainer)
    assert len(items) == (2 if causal else 3), "of the second the cue comes after the target"
    report = alignment_results(explainer, items)
    preferred = []
    shares, precisions = (defaultdict[str, list[float]](list) for _ in range(2))
    for item in items:
        norms, of_last, good, bad, places = last_layer(explainer, item)
        read = len(places) - 1
        if not causal:
            read = explainer.tokenizer(item.text)["input_ids"].index(
                explainer.tokenizer.mask_token_id
            )
        preferred.append(good[read] > bad[read])
        kept = [i for i, (a, b) in enumerate(places) if b > a and (causal or i != read)]
        held = np.array([any(a < e and b > s for s, e in item.cues) for a, b in places])[kept]
        target = read + causal
        mixed = explainer.explain(
            item.text, target=item.good, method="value_zeroing", layer=2, rollout=False
        )
        scores = {
            "normxlogit": norms * good,
            "logat": good,
            "logat_foil": bad,
            "normxlogit_contrast": norms * (good - bad),
            "logat_contrast": good - bad,
            "norm": of_last,
            "value_zeroing": mixed.scores.astype(np.float64),
            "nearest": np.array([len(places) + 1 - abs(i - target) for i in range(len(places))]),
            "first": np.array([len(places) - i for i in range(len(places))]),
        }
        for name, own in scores.items():
            mass = np.exp(own) if "log" in name else own
            shares[name].append(mass[kept][held].sum() / mass[kept].sum())
            precisions[name].append(average_precision_score(held, own[kept]))
    found = report["text"]
    for metric, expected in (("dot_product", shares), ("average_precision", precisions)):
        for name, own in expected.items():
            mean = found[metric][name]["mean"][-1]
            assert mean == pytest.approx(np.mean(own), abs=1e-4), (metric, name)
    assert report["accuracy"] == np.mean(preferred)
    assert (found["cases"], found["all_evidence"]) == (len(items), 0)
    assert report["all"]["tokens"] == pytest.approx(found["tokens"] + (1 if causal else 2))
    assert len(found["dot_product"]["value_zeroing"]["low"]) == 2
    assert ("alti" in found["dot_product"]) == (not causal)


def test_chance_is_what_is_expected_of_it() -> None:
    """One word of evidence among n: a share of 1 / n, a precision of the mean of 1 / rank."""
    evidence = np.array([False, True, False, False])
    nothing = Read({"normxlogit": np.zeros((1, 4))}, evidence, {}, True)
    drawn = [measure(nothing, np.ones(4, bool), [0, n])["random"] for n in range(200)]
    share, precision = np.mean(drawn, axis=0)[:, 0]
    assert share == pytest.approx(1 / 4, abs=0.02)
    assert precision == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4, abs=0.02)


def test_a_masked_model_is_trained_to_prefer_the_good_word() -> None:
    explainer = language_model()
    model, words = copy.deepcopy(explainer.model), explainer.tokenizer
    pairs = pairs_of(MADE_UP, words)
    assert [text.count("<mask>") for text, _, _ in pairs] == [1, 1, 1]
    model.train(False)
    own = preferences(model, words, pairs).detach()
    for n, (text, good, bad) in enumerate(pairs):
        inputs = words(text, return_tensors="pt")
        logits = model(**inputs).logits.detach()[inputs["input_ids"] == words.mask_token_id][0]
        assert float(own[n]) == pytest.approx(float(logits[good] - logits[bad]), abs=1e-5)
    assert accuracy(model, words, pairs) == pytest.approx(float((own > 0).float().mean()))
    assert accuracy(model, words, [(t, bad, good) for t, good, bad in pairs]) == pytest.approx(
        float((own < 0).float().mean())
    )
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(20):
        epoch(model, words, optimizer, pairs)
    assert accuracy(model, words, pairs) == 1


def test_cues_are_shown() -> None:
    case = case_of("Ada buys these nice cakes.", "Ada buys this nice cakes.", ADJECTIVE)
    assert marked(case) == "Ada buys [these|this] nice <cakes>."
    first = case_of("Ada bakes a cake.", "Ada bake a cake.", VERB)
    assert marked(first) == "<Ada> [bakes|bake] a cake."
