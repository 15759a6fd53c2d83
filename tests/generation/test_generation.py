"""Generated text, held against the model run from scratch for every token, without a cache."""

import threading
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    DynamicCache,
    GenerationConfig,
    LogitsProcessor,
    PreTrainedTokenizerBase,
    StoppingCriteria,
)

import normxlogit as nxl
from normxlogit.query import Query
from normxlogit.tasks import InputOptions
from tests.helpers.assertions import as_generation, succeeded
from tests.helpers.builders import tokenizer
from tests.helpers.cached import unmasked_with_cache
from tests.helpers.zoo import tiny_config

GUIDED: Any = GenerationConfig(guidance_scale=1.7, max_new_tokens=3)  # type: ignore[no-untyped-call]
ANY_CAUSAL: Any = AutoModelForCausalLM
PROMPT = "A great movie with poor performers."
OTHER = "The plot"
TYPES = ["llama", "gpt2", "gemma2", "qwen3", "mamba"]
ENCODER_DECODERS = ["t5", "bart"]
NEW: dict[str, Any] = {"max_new_tokens": 5, "min_new_tokens": 5}


@pytest.fixture(scope="module")
def words() -> PreTrainedTokenizerBase:
    """A tokenizer that puts a token before a text and none after it, as those of decoders do."""
    return tokenizer("bpe", add_eos=False)


@pytest.fixture(scope="module")
def explainers(words: PreTrainedTokenizerBase) -> Callable[[str], nxl.Explainer]:
    """Explainers of random models by their type."""
    made: dict[str, nxl.Explainer] = {}

    def explainer(model_type: str) -> nxl.Explainer:
        if model_type not in made:
            made[model_type] = nxl.Explainer(random_model(model_type, len(words)), words)
        return made[model_type]

    return explainer


def random_model(model_type: str, size: int) -> Any:
    config = tiny_config(model_type, vocab_size=size)
    auto: Any = AutoModelForSeq2SeqLM if model_type in ENCODER_DECODERS else AutoModelForCausalLM
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = auto.from_config(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@torch.no_grad()
def from_scratch(model: Any, prompt: list[int], new: list[int]) -> Iterator[tuple[Tensor, float]]:
    """For each new token its scores over all tokens before it, and its probability.

    ||hidden_states[0]|| times its full logits at each position, of a forward pass over just the
    tokens before it.
    """
    for n, token in enumerate(new):
        both = model.config.is_encoder_decoder
        begun = [model.generation_config.decoder_start_token_id] if both else prompt
        ids = torch.tensor([[*begun, *new[:n]]])
        inputs: Any = {"input_ids": ids}
        if both:
            inputs = {"input_ids": torch.tensor([prompt]), "decoder_input_ids": ids}
        out = model(**inputs, output_hidden_states=True, use_cache=False)
        states = out.decoder_hidden_states if both else out.hidden_states
        first = states[0]
        if model.config.model_type == "mamba":
            first = model.backbone.embeddings(ids)
        scores = first[0].norm(dim=-1) * out.logits[0, :, token]
        if both:
            encoded = out.encoder_last_hidden_state
            source = out.encoder_hidden_states[0][0].norm(dim=-1)
            scale = model.config.d_model**-0.5 if model.config.model_type == "t5" else 1
            logits = model.lm_head(encoded * scale)[0, :, token]
            if model.config.model_type == "bart":
                logits = logits + model.final_logits_bias[0, token]
            scores = torch.cat([source * logits, scores])
        yield scores, float(out.logits[0, -1].softmax(-1)[token])


def check(found: nxl.GenerationAttribution, explainer: nxl.Explainer, prompt: str) -> None:
    model: Any = explainer.model
    ids = explainer.tokenizer(prompt)["input_ids"]
    new = [target.id for target in found.targets]
    begun = len(found) - len(new)
    for n, (scores, probability) in enumerate(from_scratch(model, ids, new)):
        assert np.isnan(found.scores[n, begun + n :]).all()
        expected = scores.numpy()
        within = 1e-4 * np.abs(expected).max()
        np.testing.assert_allclose(found.scores[n, : begun + n], expected, atol=within, rtol=0)
        assert found.targets[n].probability == pytest.approx(probability, abs=1e-5)
        assert found.targets[n].position == begun + n - 1


class Always(LogitsProcessor):
    """Leaves the model nothing to say but token 30."""

    def __call__(self, _input_ids: Any, scores: Any) -> Any:
        scores = torch.full_like(scores, -100.0)
        scores[:, 30] = 0.0
        return scores


WAYS = {
    "greedy": {"do_sample": False},
    "sampled": {"do_sample": True, "temperature": 2.0},
    "beams": {"num_beams": 3, "do_sample": False},
    "uncached": {"use_cache": False, "do_sample": False},
}
BEAMS_OF_MAMBA_ARE_MIXED_UP = version("transformers").startswith("5.0.")
"""Its beam search leaves the states of Mamba's cache where they were when beams change places."""


@pytest.mark.parametrize(
    ("model_type", "options"),
    [
        pytest.param(model_type, options, id=f"{way}-{model_type}")
        for way, options in WAYS.items()
        for model_type in [*TYPES, *ENCODER_DECODERS]
        if not (BEAMS_OF_MAMBA_ARE_MIXED_UP and (way, model_type) == ("beams", "mamba"))
    ],
)
def test_scores_are_those_of_a_fresh_pass_for_every_token(
    model_type: str, options: dict[str, Any], explainers: Callable[[str], nxl.Explainer]
) -> None:
    explainer = explainers(model_type)
    torch.manual_seed(5)
    found = explainer.generate(PROMPT, **NEW, **options)
    torch.manual_seed(5)
    inputs = explainer.tokenizer(PROMPT, return_tensors="pt")
    model: Any = explainer.model
    plain = model.generate(**inputs, **NEW, **options)[0, -5:]
    assert [target.id for target in found.targets] == plain.tolist()
    check(found, explainer, PROMPT)


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "bart"])
def test_several_sequences_of_several_prompts(
    model_type: str, explainers: Callable[[str], nxl.Explainer]
) -> None:
    explainer = explainers(model_type)
    options: dict[str, Any] = {"num_beams": 3, "num_return_sequences": 2}
    both = explainer.generate([PROMPT, OTHER], **NEW, **options)
    assert [len(sequences) for sequences in both] == [2, 2]
    for prompt, sequences in zip((PROMPT, OTHER), both, strict=True):
        assert sequences[0].answer != sequences[1].answer
        for found in sequences:
            check(found, explainer, prompt)


@pytest.mark.parametrize("model_type", TYPES)
def test_prompts_of_different_lengths(
    model_type: str, explainers: Callable[[str], nxl.Explainer]
) -> None:
    explainer = explainers(model_type)
    for prompt, found in zip(
        (OTHER, PROMPT, OTHER), explainer.generate([OTHER, PROMPT, OTHER], **NEW), strict=True
    ):
        check(found, explainer, prompt)


@pytest.mark.parametrize("model_type", ["llama", "mamba", "t5"])
def test_a_stream_gives_what_generate_gives(
    model_type: str, explainers: Callable[[str], nxl.Explainer]
) -> None:
    explainer = explainers(model_type)
    whole = explainer.generate(PROMPT, **NEW)
    stream = explainer.generate_stream(PROMPT, **NEW)
    for n, step in enumerate(stream):
        assert step.target.id == whole.targets[n].id
        known = step.scores.shape[-1]
        np.testing.assert_allclose(step.scores[0], whole.scores[n, :known], rtol=1e-4, atol=1e-5)
    assert n == 4
    assert stream.result is not None
    np.testing.assert_allclose(stream.result.scores, whole.scores, rtol=1e-4, atol=1e-5)
    assert list(stream) == []


def test_a_stream_that_is_left_stops_generating(
    explainers: Callable[[str], nxl.Explainer],
) -> None:
    stream = explainers("llama").generate_stream(PROMPT, max_new_tokens=40, min_new_tokens=40)
    next(stream)
    stream.close()
    thread = stream._thread
    assert thread is not None
    thread.join(20)
    assert not thread.is_alive()


def test_an_end_before_the_others(
    words: PreTrainedTokenizerBase, explainers: Callable[[str], nxl.Explainer]
) -> None:
    explainer = explainers("llama")
    alone = [explainer.generate(prompt, **NEW) for prompt in (PROMPT, OTHER)]
    stop = alone[1].targets[2].id
    count = [t.id for t in alone[1].targets].index(stop) + 1
    assert stop not in [t.id for t in alone[0].targets]
    options: dict[str, Any] = {"max_new_tokens": 5, "eos_token_id": stop}
    options["pad_token_id"] = words.pad_token_id
    long, short = explainer.generate([PROMPT, OTHER], **options)
    assert [t.id for t in short.targets] == [t.id for t in alone[1].targets[:count]]
    check(short, explainer, OTHER)
    check(long, explainer, PROMPT)
    filled = explainer.generate([PROMPT, OTHER], **(options | {"pad_token_id": stop}))
    assert [t.id for t in filled[1].targets] == [t.id for t in short.targets]


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}], ids=["greedy", "beams"])
def test_an_answer_that_a_limit_ended_says_so(
    explainers: Callable[[str], nxl.Explainer], options: dict[str, Any]
) -> None:
    explainer = explainers("llama")
    options = {"max_new_tokens": 2, "do_sample": False, **options}
    cut = as_generation(explainer.generate(PROMPT, **options))
    assert cut.cut_after == len(cut.targets) == 2
    # What ends an answer at its limit may be a text to stop at, or its last token.
    stopped = as_generation(explainer.generate(PROMPT, **options, stop_strings=[cut.answer[-3:]]))
    assert (stopped.answer, stopped.cut_after) == (cut.answer, None)
    options |= {"logits_processor": [Always()], "max_new_tokens": 1}
    for end, count in ((30, None), (31, 1)):
        ended = as_generation(explainer.generate(PROMPT, **options, eos_token_id=end))
        assert ([target.id for target in ended.targets], ended.cut_after) == ([30], count)
    given = as_generation(explainer.explain(PROMPT, target=cut.answer))
    assert given.cut_after is None

    class Stops(StoppingCriteria):
        def __call__(self, input_ids: Any, _scores: Any, **_: Any) -> Any:
            return torch.ones(len(input_ids), dtype=torch.bool)

    options["max_new_tokens"] = 3
    early = as_generation(explainer.generate(PROMPT, **options, stopping_criteria=[Stops()]))
    assert (len(early.targets), early.cut_after) == (1, None)


def test_of_answers_of_a_batch_those_that_a_limit_ended_say_so(
    words: PreTrainedTokenizerBase, explainers: Callable[[str], nxl.Explainer]
) -> None:
    explainer = explainers("llama")
    stop = as_generation(explainer.generate(OTHER, **NEW)).targets[2].id
    options: dict[str, Any] = {"max_new_tokens": 5, "eos_token_id": stop}
    long, short = succeeded(
        explainer.generate([PROMPT, OTHER], **options, pad_token_id=words.pad_token_id)
    )
    assert (as_generation(long).cut_after, as_generation(short).cut_after) == (5, None)


def test_a_continuation_is_explained_as_if_it_had_been_generated(
    explainers: Callable[[str], nxl.Explainer],
) -> None:
    explainer = explainers("gpt2")
    made = explainer.generate(PROMPT, **NEW)
    given = as_generation(explainer.explain(PROMPT, target=[t.id for t in made.targets]))
    np.testing.assert_allclose(given.scores, made.scores, rtol=1e-4, atol=1e-5)
    assert given.targets[2].probability == pytest.approx(made.targets[2].probability, abs=1e-6)
    assert given.answer == made.answer
    text = as_generation(explainer.explain(PROMPT, target=" The plot"))
    assert text.answer == " The plot"
    check(text, explainer, PROMPT)


def test_a_model_that_is_causal_without_a_cache_only(words: PreTrainedTokenizerBase) -> None:
    """Decoding reads a token at a time, which is a pass without a cache, whatever the default."""
    model = unmasked_with_cache(len(words))
    explainer = nxl.Explainer(model, words)
    made = explainer.generate(PROMPT, do_sample=False, **NEW)
    check(made, explainer, PROMPT)
    new = [target.id for target in made.targets]
    check(as_generation(explainer.explain(PROMPT, target=new)), explainer, PROMPT)
    stream = explainer.generate_stream(PROMPT, do_sample=False, **NEW)
    assert [token.targets[0].id for token in stream] == new
    assert stream.result is not None
    check(stream.result, explainer, PROMPT)
    hidden = explainer.generate(
        PROMPT, do_sample=False, method="occlusion", unit="token", replacement=25, **NEW
    )
    prompt, start = words(PROMPT)["input_ids"], model.generation_config.decoder_start_token_id

    @torch.no_grad()
    def logits(source: list[int]) -> Tensor:
        inputs = {"input_ids": [source], "decoder_input_ids": [[start, *new[:-1]]]}
        tensors = {key: torch.tensor(ids) for key, ids in inputs.items()}
        out: Tensor = model(**tensors, use_cache=False).logits[0, torch.arange(5), new]
        return out

    changed = prompt.copy()
    changed[3] = 25
    lost = logits(prompt) - logits(changed)
    np.testing.assert_allclose(hidden.scores[:, 3], lost.numpy(), rtol=1e-3, atol=1e-4)


def test_a_model_whose_source_has_no_scores_is_refused(words: PreTrainedTokenizerBase) -> None:
    """FSMT, whose trunk gives its logits; it does not call the module that is named for these."""
    size = len(words)
    config = tiny_config("fsmt", src_vocab_size=size, tgt_vocab_size=size, num_beams=1)
    auto: Any = AutoModelForSeq2SeqLM
    explainer = nxl.Explainer(auto.from_config(config).eval(), words)
    questions: list[Callable[[], Any]] = [
        lambda: explainer.generate(PROMPT, **NEW),
        lambda: list(explainer.generate_stream(PROMPT, num_beams=1, **NEW)),
        lambda: explainer.explain(PROMPT, target=" The plot"),
    ]
    for ask in questions:
        with pytest.raises(nxl.UnsupportedHeadError, match="source has no scores"):
            ask()


def test_the_whole_answer_and_parts_of_it(explainers: Callable[[str], nxl.Explainer]) -> None:
    found = as_generation(explainers("llama").explain(PROMPT, target=" The plot is not bad"))
    whole = found.whole()
    expected = np.nansum(found.scores, 0)
    np.testing.assert_allclose(whole.scores, expected[: len(whole)], rtol=1e-5)
    assert len(whole) == len(found) - 1
    part = found.span("plot")
    first = found.answer.index("plot")
    inside = [n for n, (a, b) in enumerate(found.answer_offsets) if a < first + 4 and b > first]
    np.testing.assert_allclose(
        part.scores, np.nansum(found.scores[inside], 0)[: len(part)], rtol=1e-5
    )
    assert part.target.logit == pytest.approx(sum(found.targets[n].logit for n in inside))
    with pytest.raises(nxl.InputError, match="does not occur"):
        found.span("film")
    with pytest.raises(nxl.OptionError, match="occurs 2 times"):
        found.span("t")
    with pytest.raises(nxl.InputError, match="not inside"):
        found.span((3, 3))
    loaded = nxl.GenerationAttribution.from_dict(found.to_dict())
    np.testing.assert_array_equal(loaded.scores, found.scores)


def test_the_users_model_is_left_as_it_was(words: PreTrainedTokenizerBase) -> None:
    model = random_model("llama", len(words))

    def snapshot() -> Any:
        return (
            [
                (name, dict(vars(module)) | {"_modules": dict(module._modules)})
                for name, module in model.named_modules()
            ],
            model.generation_config.to_dict(),
            model.config.to_dict(),
            repr(words),
        )

    before = snapshot()
    explainer = nxl.Explainer(model, words)
    explainer.generate(PROMPT, **NEW)
    list(explainer.generate_stream(PROMPT, **NEW))
    with pytest.raises(nxl.NormXLogitError):
        explainer.generate(PROMPT, max_new_tokens=3, no_such_option=1)
    assert snapshot() == before


def test_a_sink_is_left_out_of_rankings(words: PreTrainedTokenizerBase) -> None:
    """A token whose state is far larger than all others' in every block."""
    model = random_model("llama", len(words))
    explainer = nxl.Explainer(model, words)
    assert explainer.explain(PROMPT).sinks == []
    tokens = explainer.explain(PROMPT).tokens
    number = next(n for n, t in enumerate(tokens) if n > 2 and tokens.count(t) == 1)
    sink = tokens[number]
    assert sink not in explainer.explain(OTHER).tokens
    with torch.no_grad():
        model.get_input_embeddings().weight[words.convert_tokens_to_ids(sink)] *= 1000
    for found in (
        explainer.explain(PROMPT),
        succeeded(explainer.explain([OTHER, PROMPT]))[1],
        explainer.generate(PROMPT, **NEW).whole(),
        as_generation(explainer.generate([OTHER, PROMPT], **NEW)[1]).whole(),
        as_generation(explainer.explain(PROMPT, target=" The plot")).whole(),
    ):
        assert found.sinks == [number]
        assert sink not in [token for token, _ in found.top(100)]
        assert sink in [token for token, _ in found.top(100, special=True)]


def test_a_stream_gives_one_sequence(explainers: Callable[[str], nxl.Explainer]) -> None:
    several: Any = GenerationConfig(do_sample=True, num_return_sequences=2)  # type: ignore[no-untyped-call]
    for options in ({"num_beams": 2}, {"generation_config": several}):
        with pytest.raises(nxl.OptionError, match="several sequences"):
            explainers("llama").generate_stream(PROMPT, **options)


def test_threads_generate_with_one_model(explainers: Callable[[str], nxl.Explainer]) -> None:
    explainer = explainers("qwen3")
    prompts = [PROMPT, OTHER, "Qué?", "a mess"]
    alone = [explainer.generate(prompt, **NEW) for prompt in prompts]
    found: dict[str, Any] = {}

    def run(prompt: str) -> None:
        found[prompt] = explainer.generate(prompt, **NEW)

    threads = [threading.Thread(target=run, args=(prompt,)) for prompt in prompts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for prompt, expected in zip(prompts, alone, strict=True):
        np.testing.assert_allclose(found[prompt].scores, expected.scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("prompt", "options", "error", "says"),
    [
        ("", {}, nxl.InputError, "empty"),
        (("a", "b"), {}, nxl.InputError, "pair"),
        (PROMPT, {"max_new_tokens": 0}, nxl.OptionError, "max_new_tokens"),
        (PROMPT, {"max_new_tokens": "5"}, nxl.OptionError, "max_new_tokens"),
        (PROMPT, {"max_new_tokens": True}, nxl.OptionError, "max_new_tokens"),
        (PROMPT, {"max_new_tokens": 1000}, nxl.InputError, "1000 are to be generated"),
        ("a mess " * 100, {"max_new_tokens": 5}, nxl.InputError, "limit of 64"),
        (PROMPT, {"prompt_lookup_num_tokens": 2}, nxl.OptionError, "prompt_lookup_num_tokens"),
        (PROMPT, {"max_new_tokens": 5, "no_such": 1}, nxl.OptionError, "no_such"),
        (PROMPT, {"layer": 1}, nxl.OptionError, "layer"),
        (PROMPT, {"num_beams": 0}, nxl.OptionError, "num_beams"),
        (PROMPT, {"method": "magic"}, nxl.OptionError, "magic"),
        ([{"role": "user", "content": "Hello"}], {}, nxl.InputError, "chat template"),
    ],
)
def test_what_cannot_be_generated_says_so(
    prompt: Any,
    options: dict[str, Any],
    error: type[Exception],
    says: str,
    explainers: Callable[[str], nxl.Explainer],
) -> None:
    with pytest.raises(error, match=says) as caught:
        explainers("llama").generate(prompt, **options)
    assert "\n" not in str(caught.value)


def test_a_prompt_that_fails_does_not_lose_the_others(
    explainers: Callable[[str], nxl.Explainer],
) -> None:
    found = explainers("llama").generate([PROMPT, "", OTHER], **NEW)
    assert [type(result) for result in found] == [
        nxl.GenerationAttribution,
        nxl.Failure,
        nxl.GenerationAttribution,
    ]


def test_classifiers_do_not_generate(explainer: nxl.Explainer) -> None:
    with pytest.raises(nxl.ModelError, match="does not generate"):
        explainer.generate(PROMPT)


@pytest.mark.parametrize(
    "options",
    [
        {"guidance_scale": 2.0},
        {"generation_config": GUIDED},
        {"inputs_embeds": torch.zeros(1, 3, 32)},
        {"past_key_values": DynamicCache()},
        {"attention_mask": torch.ones(1, 3)},
        {"prefill_chunk_size": 2},
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_would_be_another_prompt_or_other_passes_is_refused(
    options: dict[str, Any], explainers: Callable[[str], nxl.Explainer]
) -> None:
    explainer = explainers("llama")
    with pytest.raises(nxl.OptionError, match=r"Generate first|as the prompt"):
        explainer.generate(PROMPT, **options)
    with pytest.raises(nxl.OptionError, match=r"Generate first|as the prompt"):
        explainer.generate_stream(PROMPT, **options)


def test_passes_that_are_not_of_the_text_are_noticed(
    explainers: Callable[[str], nxl.Explainer],
) -> None:
    explainer = explainers("llama")

    class Meddler(LogitsProcessor):
        """Asks the model once more for each token, as guidance does."""

        def __call__(self, input_ids: Any, scores: Any) -> Any:
            (root,) = roots
            root(input_ids[:, -1:])
            return scores

    roots: list[Any] = []
    generator = explainer.generator()
    prompt = explainer.task_explainer.encode(PROMPT, InputOptions())
    recording = generator.recording([prompt])
    roots.append(recording._trace.clone.root)
    given = generator.options({"max_new_tokens": 3, "logits_processor": [Meddler()]}, [prompt])
    output = recording.generate(**given)
    with pytest.raises(nxl.UnsupportedHeadError, match="other passes"):
        generator.results(recording, output, [prompt], Query())


def test_tokens_that_look_like_padding_are_kept(
    explainers: Callable[[str], nxl.Explainer],
) -> None:
    found = succeeded(
        explainers("llama").generate(
            [PROMPT, OTHER], max_new_tokens=4, pad_token_id=30, logits_processor=[Always()]
        )
    )
    assert [[t.id for t in result.targets] for result in found] == [[30] * 4] * 2


def test_a_row_that_is_stopped_gets_no_token_it_did_not_say(
    words: PreTrainedTokenizerBase, explainers: Callable[[str], nxl.Explainer]
) -> None:
    class FirstRowStops(StoppingCriteria):
        def __call__(self, _input_ids: Any, _scores: Any, **_kwargs: Any) -> Any:
            return torch.tensor([True, False])

    explainer = explainers("llama")
    alone = [explainer.generate(prompt, **NEW) for prompt in (PROMPT, OTHER)]
    found = succeeded(
        explainer.generate(
            [PROMPT, OTHER],
            max_new_tokens=5,
            pad_token_id=words.eos_token_id,
            stopping_criteria=[FirstRowStops()],
        )
    )
    count = [len(result.targets) for result in found]
    assert sorted(count) == [1, 5]
    for result, expected, number in zip(found, alone, count, strict=True):
        assert [t.id for t in result.targets] == [t.id for t in expected.targets[:number]]


def test_models_that_mind_padding_are_not_padded(words: PreTrainedTokenizerBase) -> None:
    """The decoder of BART counts positions from the left, whatever the mask says."""
    explainer = nxl.Explainer(
        ANY_CAUSAL.from_config(
            tiny_config("bart", vocab_size=len(words), is_decoder=True, is_encoder_decoder=False)
        ).eval(),
        words,
    )
    for prompt, found in zip(
        (PROMPT, OTHER, "a mess"), explainer.generate([PROMPT, OTHER, "a mess"], **NEW), strict=True
    ):
        alone = explainer.generate(prompt, **NEW)
        np.testing.assert_allclose(found.scores, alone.scores, rtol=1e-4, atol=1e-5)


def test_models_that_read_both_ways_do_not_generate(words: PreTrainedTokenizerBase) -> None:
    model: Any = ANY_CAUSAL.from_config(tiny_config("bert", vocab_size=len(words))).eval()
    with pytest.raises(nxl.UnsupportedHeadError, match="what follows"):
        nxl.Explainer(model, words).generate(PROMPT, **NEW)


def test_characters_of_several_tokens(explainers: Callable[[str], nxl.Explainer]) -> None:
    """All of an answer is what its characters are, though a token may be part of one only."""
    found = as_generation(explainers("llama").explain(PROMPT, target=" 我 😀 bien 👩‍🚀 ¿Qué"))
    everything = found.span((0, len(found.answer)))
    np.testing.assert_allclose(everything.scores, found.whole().scores, rtol=1e-6)
    first = found.answer.index("👩")
    pieces = [n for n, (a, b) in enumerate(found.answer_offsets) if a <= first < b]
    assert len(pieces) > 1
    part = found.span("👩")
    expected = np.nansum(found.scores[pieces], 0)[: len(part)]
    np.testing.assert_allclose(part.scores, expected, rtol=1e-5)
