"""What outputs mean, what they are called, and how their numbers are read."""

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from normxlogit.errors import InputError, ModelError, OptionError, UnsupportedHeadError
from normxlogit.model.positions import best_spans, check_read, ids_and_mask, read_positions
from normxlogit.model.readouts import READOUTS, Objective, closeness, find_readout, logit
from normxlogit.model.targets import Problem, TokenIds, gold_id, label_names, target_ids

LOGITS = torch.tensor([[2.0, -1.0, 3.0], [-3.0, -1.0, -2.0]])
LABELS = ["A", "B", "C"]


def test_a_problem_is_the_configurations_or_goes_by_the_outputs() -> None:
    for problem in (Problem.SINGLE_LABEL, Problem.MULTI_LABEL, Problem.REGRESSION):
        for outputs in (1, 2):
            config = SimpleNamespace(problem_type=problem.value)
            assert Problem.of(config, outputs) is problem
    unset = SimpleNamespace(problem_type=None)
    assert Problem.of(unset, 1) is Problem.REGRESSION
    assert Problem.of(unset, 2) is Problem.SINGLE_LABEL
    with pytest.raises(ModelError, match="problem_type is 'span'; it must be one of single_label"):
        Problem.of(SimpleNamespace(problem_type="span"), 2)


def test_probabilities() -> None:
    exponents = LOGITS.double().exp()
    compared = exponents / exponents.sum(-1, keepdim=True)
    each = 1 / (1 + (-LOGITS.double()).exp())
    for problem, expected in (
        *((p, compared) for p in (Problem.SINGLE_LABEL, Problem.CHOICE, Problem.TOKEN)),
        (Problem.MULTI_LABEL, each),
        (Problem.REGRESSION, LOGITS),
    ):
        actual = problem.probabilities(LOGITS.bfloat16())
        assert actual.dtype == torch.float32
        torch.testing.assert_close(actual, expected.float(), rtol=1e-5, atol=1e-6)


def test_names_of_outputs() -> None:
    config = SimpleNamespace(id2label={0: "no", "1": "yes"})
    assert label_names(config, Problem.SINGLE_LABEL, 3) == ["no", "yes", "LABEL_2"]
    assert label_names(SimpleNamespace(id2label=None), Problem.REGRESSION, 1) == ["LABEL_0"]
    assert label_names(config, Problem.SPAN, 3) == ["start", "end", "span"]
    assert label_names(config, Problem.CHOICE, 2) == ["choice 0", "choice 1"]
    tokens = label_names(config, Problem.TOKEN, 5)
    assert list(tokens) == ["0", "1", "2", "3", "4"]
    assert "1" not in tokens
    with pytest.raises(IndexError):
        tokens[5]


def test_a_gold_label_is_one_that_can_be_told_from_others() -> None:
    assert gold_id("a", ["A", "B"]) == 0
    assert gold_id("1", ["A", "B", "A"]) == 1
    with pytest.raises(OptionError, match="calls 2 labels 'A', so '0' cannot be told"):
        gold_id("0", ["A", "B", "A"])
    with pytest.raises(OptionError, match="2 labels fit"):
        gold_id("A", ["A", "B", "A"])


def ids_of(target: Any, problem: Problem = Problem.SINGLE_LABEL) -> Any:
    return target_ids(target, LOGITS, LABELS, problem, 0.5).tolist()


def test_targets_of_each_row() -> None:
    every = [[0, 1, 2], [0, 1, 2]]
    assert ids_of(None) == [[2], [1]]
    assert ids_of(None, Problem.REGRESSION) == every
    assert ids_of("all") == ids_of([0, "B", "c"]) == every
    assert ids_of("B") == ids_of(1) == [[1], [1]]
    assert ids_of(torch.tensor([2, 0])) == [[2], [0]]
    assert ids_of(None, Problem.MULTI_LABEL) == [[2, 0], [1, -1]]
    spans = target_ids(None, LOGITS, ["start", "end", "span"], Problem.SPAN, 0.5)
    assert spans.tolist() == [[2], [2]]
    for target, message in (
        (torch.tensor([0, 1, 2]), r"integers of shape \[2\], got torch.int64 of shape \[3\]"),
        (torch.tensor([0.0, 1.0]), r"integers of shape \[2\], got torch.float32"),
        (torch.tensor([0, 3]), "no label 3"),
        ([], "an empty list"),
    ):
        with pytest.raises(OptionError, match=message):
            ids_of(target)
    with pytest.raises(OptionError, match="whole vocabulary"):
        target_ids("all", LOGITS, TokenIds(3), Problem.TOKEN, 0.5)
    assert target_ids(None, LOGITS, TokenIds(3), Problem.TOKEN, 0.5).tolist() == [[2], [1]]


def test_a_probability_of_the_threshold_is_not_above_it() -> None:
    logits = torch.tensor([[0.0, 1.0]])
    assert target_ids(None, logits, ["A", "B"], Problem.MULTI_LABEL, 0.5).tolist() == [[1]]


# --- readouts --------------------------------------------------------------------------------


def test_which_readouts_there_are() -> None:
    for problem, readouts in READOUTS.items():
        assert find_readout(None, problem, False, False) == next(iter(readouts))
        for name, readout in readouts.items():
            assert find_readout(name, problem, False, False) == name
            if readout.finish is not None:
                with pytest.raises(OptionError, match="with this method: value"):
                    find_readout(name, problem, False, True)
        with pytest.raises(OptionError, match=f"not one of those for {problem.value}: "):
            find_readout("loss", problem, False, False)
    regression, single = Problem.REGRESSION, Problem.SINGLE_LABEL
    assert find_readout(None, regression, False, True) == "value"
    assert find_readout(None, regression, False, True, ["distance"]) == "distance"
    assert find_readout(None, single, True, False, ["logprob", "logit"]) == "logprob"
    with pytest.raises(OptionError, match=r"'logit' is not one of those .*: logprob"):
        find_readout("logit", single, False, False, ["logprob"])
    with pytest.raises(OptionError, match="a value, not a label"):
        find_readout(None, regression, True, False)
    with pytest.raises(OptionError, match="already compares"):
        find_readout("margin", single, True, False)
    assert find_readout("margin", single, False, False) == "margin"
    assert find_readout("logit", single, True, False) == "logit"
    with pytest.raises(OptionError, match="not one of those"):
        find_readout(["logit"], single, False, False)  # type: ignore[arg-type]


def test_closeness_leaves_padding_out() -> None:
    values = torch.tensor([1.0, 4.0, -2.0, torch.nan])
    close = closeness(values, torch.tensor([2.0]))
    assert close[:3].tolist() == [3, 2, 0]
    assert close[3].isnan()


@pytest.mark.parametrize("gathered", [True, False])
@pytest.mark.parametrize("contrasts", [True, False])
def test_an_objective_reads_each_target_at_its_position(gathered: bool, contrasts: bool) -> None:
    """-1 stands for none, and what is read there is left out later."""
    logits = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    ids, positions = torch.tensor([[1, 2], [4, -1]]), torch.tensor([[3, 0], [2, -1]])
    foils = torch.tensor([[3], [0]]) if contrasts else None
    objective, rows = Objective(logit, ids, foils, positions), torch.tensor([1, 0, 1])
    given = logits
    if gathered:
        given = torch.stack([logits[i, positions[r].clamp_min(0)] for i, r in enumerate(rows)])
    values = objective(given.bfloat16() if contrasts else given, rows, gathered=gathered)
    assert values.dtype == torch.float32
    for variant, row in enumerate(rows.tolist()):
        for target in range(2):
            if ids[row, target] >= 0:
                outputs = logits[variant, positions[row, target]]
                expected = outputs[ids[row, target]]
                if foils is not None:
                    expected = expected - outputs[foils[row, 0]]
                assert abs(float(values[variant, target] - expected)) < 0.05
    of_rows = Objective(logit, ids, foils)(logits[:, 0], rows)
    assert of_rows.shape == (3, 2)


# --- positions -------------------------------------------------------------------------------


def positions_read(
    inputs: dict[str, Any], position: Tensor | None = None, is_causal: bool = True
) -> Any:
    read = read_positions(inputs, position, is_causal)
    return None if read is None else read.tolist()


def test_which_positions_are_read() -> None:
    ids = torch.ones(2, 4).long()
    mask = torch.tensor([[1, 1, 0, 0], [0, 2, 2, 1]])
    text = {"input_ids": ids, "attention_mask": mask}
    assert positions_read(text) == [[1], [3]]
    assert positions_read({"input_ids": ids}) == [[3], [3]]
    assert positions_read(text, is_causal=False) is positions_read({}) is None
    decoded = {**text, "decoder_input_ids": ids[:, :3]}
    assert positions_read(decoded) == [[2], [2]]
    decoded["decoder_attention_mask"] = mask[:, :3]
    assert positions_read(decoded) == [[1], [2]]
    assert positions_read({"input_ids": ids, "attention_mask": mask[:, None]}) == [[3], [3]]
    assert positions_read(text, torch.tensor([0, 3])) == [[0], [3]]
    assert positions_read(text, torch.tensor([[0, -1], [3, 2]])) == [[0, -1], [3, 2]]
    assert positions_read({}, torch.tensor([9])) == [[9]]


@pytest.mark.parametrize(
    ("position", "message"),
    [
        (torch.tensor(1), r"of shape \[batch\] or \[batch, positions\]; got torch.int64 of shape"),
        (torch.ones(2, 1, 1).long(), "got torch.int64"),
        (torch.ones(2), "got torch.float32"),
        (torch.tensor([0]), "from 0 to 3, one or several for each of 2 rows; got"),
        (torch.tensor([0, 4]), "from 0 to 3"),
        (torch.tensor([0, -1]), "from 0 to 3"),
        (torch.tensor([[0, -2], [0, 0]]), "from 0 to 3"),
    ],
)
def test_positions_that_are_none(position: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_positions({"input_ids": torch.ones(2, 4).long()}, position, True)


def test_padding_is_not_read() -> None:
    mask = torch.tensor([[True, True, False], [False, True, True]])
    check_read(torch.tensor([[0, 1], [2, -1]]), mask)
    for read in ([[0, 2], [1, 2]], [[0, 1], [0, -1]]):
        with pytest.raises(InputError, match="padding"):
            check_read(torch.tensor(read), mask)


def test_ids_and_masks_of_states() -> None:
    ids, mask = torch.ones(2, 3).long(), torch.tensor([[1, 1, 0], [1, 1, 1]])
    text = {"input_ids": ids, "attention_mask": mask}
    found, tokens = ids_and_mask(text, "", (2, 3), "Bert")
    assert found is ids or (found is not None and torch.equal(found, ids))
    assert torch.equal(tokens, mask.bool())
    with pytest.raises(UnsupportedHeadError, match=r"reads \[2, 3\] tokens, .* has \[2, 4\]"):
        ids_and_mask(text, "", (2, 4), "Bert")
    with pytest.raises(UnsupportedHeadError, match="do not stand one to a token"):
        ids_and_mask({**text, "attention_mask": mask[:, :2]}, "", (2, 3), "Bert")
    with pytest.raises(InputError, match="all zeros"):
        ids_and_mask({**text, "attention_mask": mask * torch.tensor([[1], [0]])}, "", (2, 3), "B")
    with pytest.raises(InputError, match="was given inputs_embeds; input_ids are needed"):
        ids_and_mask({"inputs_embeds": mask}, "", (2, 3), "Bert")
    with pytest.raises(InputError, match="decoder_input_ids are needed"):
        ids_and_mask({"pixel_values": mask}, "decoder_", (2, 3), "Bert")
    pixels = {"pixel_values": torch.ones(2, 1, 4, 4), "pixel_mask": torch.ones(2, 4, 4)}
    none, everything = ids_and_mask(pixels, "", (2, 3), "Vit")
    assert none is None
    assert everything.tolist() == [[True] * 3] * 2
    pixels["pixel_mask"][1, 0, 0] = 0
    with pytest.raises(InputError, match="parts of the input are padding"):
        ids_and_mask(pixels, "", (2, 3), "Vit")
    assert ids_and_mask({"pixel_mask": "x"}, "", (1, 1), "Vit")[1].tolist() == [[True]]


def test_the_best_answer_of_all() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        logits = torch.randn(2, 6, 3, generator=generator)
        mask = torch.rand(2, 6, generator=generator) < 0.7
        may = torch.rand(2, 6, generator=generator) < 0.7
        mask[:, 3] = may[:, 3] = True
        for answerable in (None, may):
            allowed = mask if answerable is None else mask & answerable
            for row, span in enumerate(best_spans(logits, mask, answerable).tolist()):
                spans = [
                    (float(logits[row, i, 0] + logits[row, j, 1]), [i, j])
                    for i, j in itertools.combinations_with_replacement(range(6), 2)
                    if allowed[row, i] and allowed[row, j]
                ]
                assert span == max(spans)[1]
