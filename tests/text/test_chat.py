"""Chats: where each message is in what the template makes of them, and sums over messages."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import pytest
from tokenizers.processors import TemplateProcessing

from normxlogit import Attribution, Explainer, Failure, InputError, OptionError
from normxlogit.results.generation import GenerationAttribution
from tests.helpers.builders import tokenizer
from tests.helpers.zoo import tiny_model

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Messages one after the other, as they are."""

LLAMA = (
    "{% if messages[0]['role'] == 'system' %}"
    "{% set system = '<<SYS>>\n' + messages[0]['content'].strip() + '\n<</SYS>>\n\n' %}"
    "{% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}"
    "{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate user/assistant') }}{% endif %}"
    "{% if message['role'] == 'user' %}"
    "{{ '<s>[INST] ' + (system if loop.first else '') + message['content'].strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'].strip() + ' </s>' }}{% endif %}{% endfor %}"
)
"""The system's message is part of the user's first; what messages say is stripped."""

PARTS = (
    "{% for message in messages %}{{ message['role'] }}: {% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}\n{% endfor %}"
)
"""Takes lists of parts, and of a text nothing."""

TEMPLATES = {"chatml": CHATML, "llama": LLAMA}

TALK = [
    {"role": "system", "content": "Be good."},
    {"role": "user", "content": "Is the movie good?\nI didn't like it."},
    {"role": "assistant", "content": "No, the plot is a mess."},
    {"role": "user", "content": "And the acting?"},
]

Chat = list[dict[str, Any]]


def talker(template: str | None = CHATML, kind: str = "bpe") -> Any:
    """A writer whose tokenizer has a chat template."""
    words: Any = tokenizer(kind, model_max_length=512)
    words.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    words.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)]
    )
    words.chat_template = template
    model = tiny_model(
        "llama", mapping="causal-lm", vocab_size=len(words), max_position_embeddings=512
    )
    return Explainer(model, words)


def spoken(result: Attribution) -> list[tuple[str, str]]:
    return [(m.role, result.text[m.start : m.end]) for m in result.messages]


def owners(result: Attribution) -> list[int]:
    """The message that each token begins in, by its first character that is no space; -1: none."""
    numbers = []
    for start, end in result.offsets:
        first = next((i for i in range(start, end) if not result.text[i].isspace()), start)
        inside = [n for n, m in enumerate(result.messages) if m.start <= first < m.end]
        numbers.append(inside[0] if inside else -1)
    return numbers


def check(result: Attribution, chat: Chat, *, whole: bool = True) -> None:
    """Messages are where they are, the rest is special, and sums are those of the tokens."""
    assert spoken(result) == [(m["role"], m["content"].strip()) for m in chat]
    owner = np.array(owners(result))
    text = np.array([result.tokens[i] not in ("<s>", "</s>") for i in range(len(result))])
    np.testing.assert_array_equal(result.special, (owner < 0) | ~text)
    assert (result.segments[result.special] == -1).all()
    assert (result.word_numbers[result.special] == -1).all()
    shown = ~result.special & ~np.isnan(result.scores)
    total = result.scores[shown].sum()
    for part in ("message", "role"):
        np.testing.assert_allclose(result.by(part).scores.sum(), total, rtol=1e-4, atol=1e-4)
    by_message = result.by("message")
    for token, message in zip(by_message.tokens, chat, strict=True):
        content = message["content"].strip()
        assert token == content if whole else content.endswith(token)
    for number in range(len(chat)):
        inside = shown & (owner == number)
        assert inside.any()
        np.testing.assert_allclose(
            by_message.scores[number], result.scores[inside].sum(), rtol=1e-4, atol=1e-4
        )
    by_role = result.by("role")
    roles = list(dict.fromkeys(m["role"] for m in chat))
    assert list(by_role.tokens) == roles
    for number, role in enumerate(roles):
        of_role = [n for n, m in enumerate(chat) if m["role"] == role]
        inside = shown & np.isin(owner, of_role)
        np.testing.assert_allclose(
            by_role.scores[number], result.scores[inside].sum(), rtol=1e-4, atol=1e-4
        )
    words = result.words()
    np.testing.assert_allclose(words.scores[~words.special].sum(), total, rtol=1e-4, atol=1e-4)


CHATS: dict[str, Any] = {
    "several": TALK,
    "a message that is a role": [
        {"role": "user", "content": "user"},
        {"role": "assistant", "content": "assistant"},
        {"role": "user", "content": "user"},
    ],
    "the same again": [
        {"role": "user", "content": "good movie"},
        {"role": "assistant", "content": "good movie"},
        {"role": "user", "content": "good movie"},
    ],
    "one within another": [
        {"role": "system", "content": "good"},
        {"role": "user", "content": "a good movie, good"},
        {"role": "assistant", "content": "good"},
        {"role": "user", "content": "a good"},
    ],
    "parts of the template": [
        {"role": "system", "content": "SYS"},
        {"role": "user", "content": "INST"},
        {"role": "assistant", "content": "end"},
        {"role": "user", "content": "im_end"},
    ],
    "punctuation": [{"role": "user", "content": "] |!"}, {"role": "assistant", "content": ">"}],
    "not English": [
        {"role": "user", "content": "¿Qué? 我喜欢这部电影 👍🏽 👨‍👩‍👧"},
        {"role": "assistant", "content": "Мне понравился этот фильм. هذا الفيلم"},
        {"role": "user", "content": "👍🏽"},
    ],
    "a special token": [{"role": "user", "content": "what is </s> for"}],
    "many lines": [{"role": "user", "content": "one\n\n  two\n\tthree\r\nfour"}],
}


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("name", CHATS)
def test_messages_are_found_and_summed(name: str, template: str, kind: str) -> None:
    chat = CHATS[name]
    explainer = talker(TEMPLATES[template], kind)
    result = explainer.explain(chat)
    is_begun = chat[-1]["role"] == "assistant"
    expected = explainer.tokenizer.apply_chat_template(
        chat,
        tokenize=False,
        add_generation_prompt=not is_begun,
        continue_final_message=is_begun,
    )
    assert result.text == expected
    ids = explainer.tokenizer(expected, add_special_tokens=False)["input_ids"]
    spelled = explainer.tokenizer.convert_ids_to_tokens(ids)
    for token, piece in zip(result.tokens, spelled, strict=True):
        assert piece in (token, "<unk>")
    # Unigram makes one token of unknown characters that touch, within and without a message.
    check(result, chat, whole=kind != "unigram")


@pytest.mark.parametrize("template", TEMPLATES)
def test_white_space_around_a_message(template: str) -> None:
    chat = [{"role": "user", "content": "  a good movie\n"}]
    result = talker(TEMPLATES[template]).explain(chat)
    assert spoken(result) == [("user", "a good movie")]
    check(result, chat)


def test_the_template_is_special_and_messages_are_not() -> None:
    chat = [{"role": "user", "content": "good movie"}]
    result = talker(kind="wordpiece").explain(chat)
    shown = [
        token for token, hidden in zip(result.tokens, result.special, strict=True) if not hidden
    ]
    assert shown == ["good", "movie"]
    assert result.special[0]
    assert [token for token, _ in result.top(9)] in (["good", "movie"], ["movie", "good"])
    assert result.words().by("message").tokens == ("good movie",)


@pytest.mark.parametrize("template", TEMPLATES)
def test_an_answer_is_a_message_of_the_assistant(template: str) -> None:
    explainer = talker(TEMPLATES[template])
    forced = explainer.explain(TALK, target=" It is a mess.")
    generated = explainer.generate(TALK, max_new_tokens=4)
    for result in (forced, generated):
        assert isinstance(result, GenerationAttribution)
        assert spoken(result) == [(m["role"], m["content"]) for m in TALK]
        by_message = result.by("message")
        by_role = result.by("role")
        assert by_role.tokens == ("system", "user", "assistant")
        assert by_message.scores.shape[-1] >= len(TALK)
        shown = ~result.special
        total = np.nansum(result.scores[:, shown], -1)
        np.testing.assert_allclose(np.nansum(by_message.scores, -1), total, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(np.nansum(by_role.scores, -1), total, rtol=1e-4, atol=1e-4)
        answer = result.segments == 1
        np.testing.assert_allclose(
            np.nan_to_num(by_role.scores[:, 2]),
            np.nansum(result.scores[:, answer & shown], -1)
            + np.nan_to_num(by_message.scores[:, 2]),
            rtol=1e-4,
            atol=1e-4,
        )
        whole = result.by("message").whole()
        assert whole.tokens[:4] == tuple(m["content"] for m in TALK)
    ids = explainer.tokenizer(" It is a mess.", add_special_tokens=False)["input_ids"]
    assert [t.id for t in forced.targets] == ids


def parts(*texts: str, role: str = "user") -> Chat:
    return [{"role": role, "content": [{"type": "text", "text": t} for t in texts]}]


TRIMS = (
    "{% for message in messages %}{{ message['role'] }}:{% for part in message['content'] %}"
    "{{ joint }}{{ part['text'] | trim }}{% endfor %}\n{% endfor %}"
)
"""Trims each part, so that parts are not the same as one text."""


@pytest.mark.parametrize(
    ("template", "texts"),
    [
        (PARTS, ("a good movie",)),
        (PARTS, ("a good", " movie")),
        (PARTS, ("good", "good", "good")),
        (TRIMS.replace("joint", "' '"), ("a good ", " movie")),
        (TRIMS.replace("joint", "'\n\n'"), ("a", " good ", "\n", "movie")),
    ],
)
def test_the_prompt_of_parts_is_that_of_the_template(template: str, texts: tuple[str, ...]) -> None:
    explainer = talker(template)
    chat = parts(*texts)
    result = explainer.explain(chat)
    assert result.text == explainer.tokenizer.apply_chat_template(
        chat, tokenize=False, add_generation_prompt=True
    )
    ((role, text),) = spoken(result)
    assert role == "user"
    assert "".join(text.split()) == "".join("".join(texts).split())
    assert result.text.strip().endswith(text)


def test_parts_that_are_refused() -> None:
    with pytest.raises(InputError, match=r"writes those of message 1 \(user\) as Python does"):
        talker(CHATML).explain(parts("a good movie"))
    marked = TRIMS.replace("joint", "' * '")
    with pytest.raises(InputError, match="Give the message as one part"):
        talker(marked).explain(parts("a good", "movie"))
    picture = [{"role": "user", "content": [{"type": "image", "url": "a.png"}]}]
    with pytest.raises(InputError, match="must be text; this one holds something else"):
        talker().explain(picture)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_last_message_of_the_assistant_is_continued(template: str) -> None:
    explainer = talker(TEMPLATES[template])
    chat = [*TALK, {"role": "assistant", "content": "The acting is "}]
    apply = explainer.tokenizer.apply_chat_template
    expected = apply(chat, tokenize=False, continue_final_message=True)
    assert expected.rstrip().endswith("The acting is")
    for result in (explainer.explain(chat), explainer.generate(chat, max_new_tokens=2)):
        assert result.text == expected
        assert spoken(result)[-1] == ("assistant", "The acting is")
    for options in ({"add_generation_prompt": True}, {"add_generation_prompt": False}):
        opened = explainer.generate(chat, max_new_tokens=2, **options)
        assert opened.text == apply(chat, tokenize=False, **options)


CALLS = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] or '' }}"
    "{% for call in m['tool_calls'] %}[{{ call['function']['name'] }}]{% endfor %}\n{% endfor %}"
)


@pytest.mark.parametrize("nothing", [{"content": ""}, {"content": None}, {}])
def test_messages_without_a_text_are_messages(nothing: dict[str, Any]) -> None:
    chat: Chat = [
        {"role": "system", "content": ""},
        {"role": "user", "content": "good movie"},
        {"role": "assistant", "tool_calls": [{"function": {"name": "rate"}}], **nothing},
        {"role": "tool", "content": "bad"},
    ]
    explainer = talker(CALLS)
    result = explainer.explain(chat)
    assert result.text == explainer.tokenizer.apply_chat_template(
        chat, tokenize=False, add_generation_prompt=True
    )
    assert result.text.startswith("<system><user>")
    assert "<assistant>[rate]" in result.text
    expected = [("system", ""), ("user", "good movie"), ("assistant", ""), ("tool", "bad")]
    assert spoken(result) == expected
    assert list(result.by("role").tokens) == ["user", "tool"]
    shown = ~result.special
    assert result.by("message").scores.sum() == pytest.approx(result.scores[shown].sum(), rel=1e-4)
    assert "good" in explainer.generate(chat, max_new_tokens=2).to_html()


TOOLS = (
    "{% if tools %}{% for tool in tools %}{{ tool['function']['name'] }} {% endfor %}{% endif %}"
    "{% if documents %}{{ documents[0]['text'] }} {% endif %}"
    "{% for m in messages %}{% generation %}{{ m['content'] }}{% endgeneration %}\n{% endfor %}"
    "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def test_options_of_the_template() -> None:
    explainer, chat = talker(TOOLS), [{"role": "user", "content": "good movie"}]
    tool = {"type": "function", "function": {"name": "rate", "parameters": {}}}
    cases: list[dict[str, Any]] = [
        {"tools": [tool]},
        {"documents": [{"title": "a", "text": "a plot"}]},
        {"enable_thinking": False},
        {"add_generation_prompt": False},
    ]
    plain = explainer.generate(chat, max_new_tokens=2).prompt
    for options in cases:
        expected = explainer.tokenizer.apply_chat_template(
            chat, tokenize=False, **({"add_generation_prompt": True} | options)
        )
        assert expected != plain
        assert explainer.generate(chat, max_new_tokens=2, **options).prompt == expected
        (several,) = explainer.generate([chat], max_new_tokens=2, **options)
        assert several.prompt == expected
        stream = explainer.generate_stream(chat, max_new_tokens=2, **options)
        assert next(stream).prompt == expected
        stream.close()
    for options in ({"tools": [tool]}, {"documents": [{"title": "a", "text": "b"}]}):
        with pytest.raises(OptionError, match="the chat template does not read"):
            talker(CHATML).generate(chat, max_new_tokens=2, **options)


def test_chats_in_a_list() -> None:
    explainer = talker()
    first_chat = TALK
    other = [{"role": "user", "content": "good movie"}]
    first, failed, text, last = explainer.explain([first_chat, [{"role": "user"}], "A text", other])
    check(first, first_chat)
    check(last, other)
    assert isinstance(failed, Failure)
    assert text.messages == ()
    for chat, result in ((first_chat, first), (other, last)):
        np.testing.assert_allclose(
            result.scores, explainer.explain(chat).scores, rtol=1e-4, atol=1e-4
        )
    generated = explainer.generate([first_chat, "A text", other], max_new_tokens=2)
    assert [spoken(m) for m in generated] == [spoken(first), [], spoken(last)]
    with pytest.raises(OptionError, match=r"by\('message'\) needs a chat"):
        text.by("message")


def test_a_chat_survives_json() -> None:
    result = talker().explain(TALK)
    loaded = Attribution.from_dict(result.to_dict())
    assert loaded.messages == result.messages
    np.testing.assert_array_equal(loaded.by("role").scores, result.by("role").scores)


DROPS = "{% for m in messages if m['role'] != 'system' %}{{ m['content'] }}\n{% endfor %}"
CUTS = "{% for m in messages %}{{ m['content'].split('</think>')[-1] }}\n{% endfor %}"
REPEATS = "{% for m in messages %}{{ m['content'] }} {{ m['content'] }}\n{% endfor %}"
UPPER = "{% for m in messages %}{{ m['content'] | upper }}\n{% endfor %}"


@pytest.mark.parametrize(
    ("template", "chat", "says"),
    [
        (None, TALK, r"has no chat template.*set tokenizer\.chat_template"),
        (DROPS, TALK, r"does not give message 1 \(system\) as it is"),
        (
            DROPS,
            [{"role": "system", "content": "good"}, {"role": "user", "content": "good good"}],
            r"does not give message 1 \(system\) as it is",
        ),
        (
            CUTS,
            [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "<think>why</think>so"},
                {"role": "user", "content": "b"},
            ],
            r"does not give message 2 \(assistant\) as it is",
        ),
        (REPEATS, TALK, r"does not give message 1"),
        (UPPER, TALK, r"does not give message 1"),
        (LLAMA, [TALK[1], TALK[3]], "refuses these messages: roles must alternate"),
        (CHATML, [{"role": "user", "content": ""}], "the chat has no text"),
        (CHATML, [{"role": "system", "content": ""}, {"role": "user", "content": " "}], "no text"),
        (CHATML, [{"role": "user"}], "message 1 of the chat has no role or no content"),
        (CHATML, [{"content": "x"}], "message 1 of the chat has no role or no content"),
        (CHATML, [{"role": "user", "content": None}], "must be text"),
        (CHATML, [{"role": "user", "content": "\ud800"}], "could not read"),
        (
            CHATML,
            [{"role": "user", "content": "good " * 600}],
            r"the chat has \d+ tokens and .*512",
        ),
    ],
)
def test_what_is_refused_is_one_clear_line(template: str | None, chat: Chat, says: str) -> None:
    explainer = talker(template)
    with pytest.raises(InputError, match=says) as caught:
        explainer.explain(chat)
    assert "\n" not in str(caught.value)


def test_templates_that_look_at_what_is_said() -> None:
    """The mark that shows where a message is must not change what the others become."""
    template = (
        "{% for m in messages %}{% if 'short' in m['content'] %}!{% endif %}"
        "{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    )
    chat = [{"role": "user", "content": "good"}, {"role": "user", "content": "movie"}]
    assert spoken(talker(template).explain(chat)) == [("user", "good"), ("user", "movie")]
    with pytest.raises(InputError, match=r"does not give message 2"):
        talker(template).explain([*chat[:1], {"role": "user", "content": "a short movie"}])


HOISTED = (
    "{% for m in messages if m['role'] == 'system' %}[system] {{ m['content'] }}\n{% endfor %}"
    "{% for m in messages if m['role'] != 'system' %}[{{ m['role'] }}] {{ m['content'] }}\n"
    "{% endfor %}[assistant]"
)
"""System messages first, wherever they stand."""


def test_roles_of_messages_that_the_template_puts_in_another_order() -> None:
    explainer = talker(HOISTED)
    chat = [
        {"role": "user", "content": "Is the movie good?"},
        {"role": "system", "content": "Be good."},
    ]
    result = explainer.explain(chat)
    roles, messages = result.by("role"), result.by("message")
    of_role = dict(zip(roles.tokens, roles.scores.tolist(), strict=True))
    of_message = dict(zip(messages.tokens, messages.scores.tolist(), strict=True))
    assert of_role["system"] == pytest.approx(of_message["Be good."])
    assert of_role["user"] == pytest.approx(of_message["Is the movie good?"])


class Speaker(str, Enum):
    USER = "user"


@dataclass
class Said:
    """A message as clients of language models have it."""

    role: Any
    content: Any
    tool_calls: Any = None


@dataclass
class Part:
    type: str
    text: str


def as_objects(chat: Chat) -> list[Said]:
    return [Said(**message) for message in chat]


HELD: dict[str, Callable[[Chat], Any]] = {
    "objects": as_objects,
    "mixed": lambda chat: [*as_objects(chat)[:2], *chat[2:]],
    "request": lambda chat: {"messages": chat, "model": "gpt"},
    "row of objects": lambda chat: {"messages": as_objects(chat)},
    "array": np.array,
    "row of an array": lambda chat: {"messages": np.array(chat)},
}


@pytest.mark.parametrize("kind", HELD)
def test_chats_as_people_hold_them(kind: str) -> None:
    explainer, held = talker(), HELD[kind](TALK)
    expected = explainer.explain(TALK)
    result = explainer.explain(held)
    assert (result.text, result.messages) == (expected.text, expected.messages)
    np.testing.assert_array_equal(result.scores, expected.scores)
    several = explainer.explain([held, TALK])
    assert [chat.text for chat in several] == [expected.text] * 2
    options = {"max_new_tokens": 2, "do_sample": False}
    assert explainer.generate(held, **options).text == explainer.generate(TALK, **options).text
    assert explainer.generate([held], **options)[0].text == expected.text


def test_a_message_object_is_plain_to_the_template() -> None:
    said = Said(Speaker.USER, [Part("text", "Is it good?")])
    parts = [{"role": "user", "content": [{"type": "text", "text": "Is it good?"}]}]
    explainer = talker(PARTS)
    assert explainer.explain([said]).text == explainer.explain(parts).text


def test_what_a_request_has_beside_its_messages() -> None:
    explainer = talker()
    with pytest.raises(InputError, match="has tools beside its messages"):
        explainer.explain({"messages": TALK, "tools": [{"name": "search"}]})
    with pytest.raises(InputError, match="expected a list of messages, got str"):
        explainer.explain({"messages": "hello"})
    good, bad = explainer.explain([TALK, {"messages": "hello"}])
    assert isinstance(good, Attribution)
    assert isinstance(bad, Failure)
