"""Streams of generated tokens: how they end, by themselves and when they are left."""

import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.generation.stopping_criteria import StoppingCriteria
from typer.testing import CliRunner

import normxlogit as nxl
from normxlogit import cli
from tests.helpers.builders import tokenizer
from tests.helpers.zoo import tiny_config

PROMPT = "A great movie with poor performers."
OTHER = "The plot"
LIMIT = 120.0
"""How many seconds anything may take here."""


def options(count: int) -> dict[str, Any]:
    return {"max_new_tokens": count, "min_new_tokens": count}


@pytest.fixture(scope="module")
def explainer() -> nxl.Explainer:
    """A random Llama."""
    words: Any = tokenizer("bpe", add_eos=False, model_max_length=4096)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        config = tiny_config("llama", vocab_size=len(words), max_position_embeddings=4096)
        auto: Any = AutoModelForCausalLM
        return nxl.Explainer(auto.from_config(config).eval(), words)


@pytest.fixture(scope="module")
def model(explainer: nxl.Explainer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that talks on and on."""
    folder = tmp_path_factory.mktemp("talker")
    saved: Any = explainer.model
    before = saved.generation_config.eos_token_id, saved.config.eos_token_id
    saved.generation_config.eos_token_id = saved.config.eos_token_id = None
    saved.save_pretrained(folder)
    saved.generation_config.eos_token_id, saved.config.eos_token_id = before
    words: Any = tokenizer("bpe", add_eos=False, model_max_length=4096)
    words.chat_template = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}{% endfor %}"
    words.save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    """After every test, whatever became of its streams."""
    yield
    gc.collect()
    wait(lambda: not producers())


def producers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "normxlogit-stream"]


def wait(true: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def in_time(call: Callable[[], Any]) -> Any:
    """What a call gives, which must not hang."""
    done: Future[Any] = Future()

    def run() -> None:
        try:
            done.set_result(call())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return done.result(LIMIT)


@pytest.mark.parametrize("count", [1, 3])
def test_a_stream_that_nobody_has_any_more_ends(explainer: nxl.Explainer, count: int) -> None:
    for n, _ in enumerate(explainer.generate_stream(PROMPT, **options(400)), 1):
        if n == count:
            break
    gc.collect()
    wait(lambda: not producers())
    started = explainer.generate_stream(PROMPT, **options(400))
    next(started)
    started.itself = started  # type: ignore[attr-defined]  # a cycle
    assert producers()
    del started
    gc.collect()
    wait(lambda: not producers())


def test_a_stream_that_nobody_reads_does_not_run(explainer: nxl.Explainer) -> None:
    stream = explainer.generate_stream(PROMPT, **options(400))
    assert not producers()
    stream.close()
    assert not producers()


@pytest.mark.parametrize("read", [0, 1, 2])
def test_a_closed_stream_has_no_more_tokens(explainer: nxl.Explainer, read: int) -> None:
    stream = explainer.generate_stream(PROMPT, **options(400))
    for _ in range(read):
        next(stream)
    stream.close()
    assert not producers()
    stream.close()
    assert in_time(lambda: list(stream)) == []
    with pytest.raises(StopIteration):
        next(stream)
    assert stream.result is None


def test_closing_after_the_end_keeps_the_result(explainer: nxl.Explainer) -> None:
    stream = explainer.generate_stream(PROMPT, **options(2))
    assert len(list(stream)) == 2
    result = stream.result
    stream.close()
    assert result is not None
    assert stream.result is result
    assert list(stream) == []


def test_another_thread_can_close(explainer: nxl.Explainer) -> None:
    """Also while the reader waits for a token."""
    waiting, go_on = threading.Event(), threading.Event()

    class Slow(StoppingCriteria):
        def __call__(self, input_ids: Any, _scores: Any, **_options: Any) -> Any:
            waiting.set()
            go_on.wait(LIMIT)
            return torch.zeros(len(input_ids), dtype=torch.bool)

    stream = explainer.generate_stream(PROMPT, **options(400), stopping_criteria=[Slow()])
    counts: list[int] = []
    reader = threading.Thread(target=lambda: counts.append(len(list(stream))))
    reader.start()
    assert waiting.wait(LIMIT)
    closer = threading.Thread(target=stream.close)
    closer.start()
    reader.join(LIMIT)
    assert not reader.is_alive()
    assert closer.is_alive()  # it waits for the model
    go_on.set()
    closer.join(LIMIT)
    assert not closer.is_alive()
    assert len(counts) == 1
    assert counts[0] <= 1
    assert stream.result is None


def test_what_the_model_calls_can_close(explainer: nxl.Explainer) -> None:
    class Closing(StoppingCriteria):
        def __call__(self, input_ids: Any, _scores: Any, **_options: Any) -> Any:
            stream.close()
            return torch.zeros(len(input_ids), dtype=torch.bool)

    stream = explainer.generate_stream(PROMPT, **options(9), stopping_criteria=[Closing()])
    assert len(in_time(lambda: list(stream))) <= 1
    assert stream.result is None


def test_a_stream_closes_at_the_end_of_its_block(explainer: nxl.Explainer) -> None:
    with explainer.generate_stream(PROMPT, **options(400)) as stream:
        next(stream)
        assert producers()
    assert not producers()
    assert list(stream) == []
    with (  # noqa: PT012
        pytest.raises(ZeroDivisionError),
        explainer.generate_stream(PROMPT, **options(400)) as stream,
    ):
        next(stream)
        _ = 1 / 0
    assert not producers()
    with explainer.generate_stream(PROMPT, **options(2)) as stream:
        assert len(list(stream)) == 2
    assert stream.result is not None


class Breaks(StoppingCriteria):
    """Has an error after the second token."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, input_ids: Any, _scores: Any, **_options: Any) -> Any:
        """Whether each row is through."""
        self.calls += 1
        if self.calls == 2:
            raise nxl.OptionError("enough")
        return torch.zeros(len(input_ids), dtype=torch.bool)


def test_an_error_comes_once_after_the_tokens_before_it(explainer: nxl.Explainer) -> None:
    stream = explainer.generate_stream(PROMPT, **options(9), stopping_criteria=[Breaks()])
    assert next(stream).axes == ("target",)
    with pytest.raises(nxl.OptionError, match="enough"):
        in_time(lambda: list(stream))
    assert in_time(lambda: list(stream)) == []
    assert stream.result is None


def test_no_stopping_criteria(explainer: nxl.Explainer) -> None:
    whole = explainer.generate(PROMPT, **options(3))
    stream = explainer.generate_stream(PROMPT, **options(3), stopping_criteria=None)
    assert [step.target.id for step in stream] == [target.id for target in whole.targets]
    stops: Any = Breaks()
    with pytest.raises(nxl.OptionError, match="generate: "):
        list(explainer.generate_stream(PROMPT, **options(3), stopping_criteria=stops))


def test_streams_of_one_model_at_once(explainer: nxl.Explainer) -> None:
    prompts = [PROMPT, OTHER]
    alone = [explainer.generate(prompt, **options(5)) for prompt in prompts]
    streams = [explainer.generate_stream(prompt, **options(5)) for prompt in prompts]
    left = explainer.generate_stream("a mess", **options(400))
    next(left)
    for n, steps in enumerate(zip(*streams, strict=True)):
        for step, whole in zip(steps, alone, strict=True):
            assert step.target.id == whole.targets[n].id
            width = step.scores.shape[-1]
            np.testing.assert_allclose(
                step.scores[0], whole.scores[n, :width], rtol=1e-4, atol=1e-5
            )
    assert n == 4
    for stream, whole in zip(streams, alone, strict=True):
        assert list(stream) == []
        assert stream.result is not None
        np.testing.assert_allclose(stream.result.scores, whole.scores, rtol=1e-4, atol=1e-5)
    left.close()


def test_the_model_is_one_token_ahead_of_who_reads(explainer: nxl.Explainer) -> None:
    lengths: list[int] = []

    class Counts(StoppingCriteria):
        def __call__(self, input_ids: Any, _scores: Any, **_options: Any) -> Any:
            lengths.append(input_ids.shape[1])
            return torch.zeros(len(input_ids), dtype=torch.bool)

    with explainer.generate_stream(PROMPT, **options(400), stopping_criteria=[Counts()]) as stream:
        for count in range(1, 4):
            next(stream)
            wait(lambda: len(lengths) >= count)  # noqa: B023
        assert len(lengths) in (3, 4)


def command(model: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "normxlogit", "generate", "-m", str(model), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "passive"},
    )


LONG = ["--max-new-tokens", "2000"]


def begun(process: subprocess.Popen[bytes]) -> None:
    """Wait for the first byte of the answer."""
    assert process.stdout is not None
    assert os.read(process.stdout.fileno(), 1)


def test_a_pipe_that_is_closed_early(model: Path) -> None:
    process = command(model, PROMPT, *LONG)
    begun(process)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(LIMIT) == 1
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.skipif(os.name == "nt", reason="signals differ")
def test_an_interrupt_while_the_answer_is_written(model: Path) -> None:
    process = command(model, PROMPT, *LONG)
    begun(process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, err) == (130, b"")


@pytest.mark.skipif(os.name == "nt", reason="there is no sh")
def test_no_standard_output(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "answer.txt"
    for arguments, code in (([], 1), (["-o", str(file)], 0)):
        start = [sys.executable, "-m", "normxlogit", "generate", "-m", str(model), PROMPT]
        done = subprocess.run(
            ["sh", "-c", '"$@" >&-', "sh", *start, "--max-new-tokens", "2", *arguments],
            stderr=subprocess.PIPE,
            timeout=2 * LIMIT,
        )
        assert done.returncode == code, done.stderr
        assert done.stderr.count(b"\n") == 1
        assert (b"standard output is closed" in done.stderr) == bool(code)
        assert done.stderr.startswith(b"Wrote ") != bool(code)
    assert "Answer" in file.read_text("utf-8")


def test_a_script_may_end_before_its_stream(model: Path) -> None:
    code = (
        "import sys, normxlogit\n"
        "explainer = normxlogit.Explainer.from_pretrained(sys.argv[1])\n"
        "stream = explainer.generate_stream('The plot', max_new_tokens=2000)\n"
        "next(stream)\n"
        "for _ in explainer.generate_stream('A mess', max_new_tokens=2000):\n"
        "    break\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, model],
        stderr=subprocess.PIPE,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        timeout=2 * LIMIT,
    )
    assert done.returncode == 0, done.stderr
    assert b"terminate" not in done.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read chat.json: No such file"),
        (b"", "is not JSON"),
        (b"{bad", "is not JSON"),
        (b"[" * 200_000, "is not JSON"),
        (b'["caf\xe9"]', "is not UTF-8 text (byte 5 is 0xe9)"),
        (b"[]", "has no messages"),
        (b'"text"', "is not a list of messages"),
        (b'{"role": "user", "content": "text"}', "is not a list of messages"),
        (b'["text"]', "is not a list of messages"),
        (b'[{"role": "user", "content": "a \\ud800 b"}]', "half a character"),
        (b'[{"role": "user"}]', "no role or no content"),
        (b'[{"role": "user", "content": null}]', "must be text"),
        (b'[{"role": "user", "content": " "}]', "has no text"),
        (b'[{"role": 1, "content": "text"}]', "the chat template refuses"),
    ],
)
def test_chats_that_are_none(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes | None,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("chat.json").write_bytes(content)
    result = CliRunner().invoke(
        cli.app, ["generate", "-m", str(model), "--chat", "chat.json", "--max-new-tokens", "1"]
    )
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("normxlogit: ")
    assert result.stderr.count("\n") == 1
    assert result.stderr.count("chat.json") <= 1
    assert message in result.stderr


def test_a_chat_is_answered_as_it_is_made(model: Path, tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "Qué? \N{THUMBS UP SIGN}"}]
    file = tmp_path / "chat.json"
    command = ["generate", "-m", str(model), "--chat", str(file), "--max-new-tokens", "3"]
    for data in (chat, {"messages": chat}):
        file.write_text(json.dumps(data), "utf-8")  # with a surrogate pair
        result = CliRunner().invoke(cli.app, command)
        assert result.exit_code == 0, result.stderr
        assert "Answer" in result.stdout
    file.write_text(json.dumps({"messages": chat, "tools": [{"name": "search"}]}), "utf-8")
    result = CliRunner().invoke(cli.app, command)
    assert result.exit_code == 1
    assert "has tools beside its messages" in result.stderr


def test_texts_to_stop_at_that_are_none() -> None:
    arguments = ["generate", "-m", "never-loaded", "x", "--stop"]
    result = CliRunner().invoke(cli.app, [*arguments, ""])
    assert result.exit_code == 2
    assert "--stop '' is empty" in result.stderr
    result = CliRunner().invoke(cli.app, [*arguments, "a\udcff"])
    assert result.exit_code == 1
    assert result.stderr == "normxlogit: TEXT is not valid UTF-8.\n"
