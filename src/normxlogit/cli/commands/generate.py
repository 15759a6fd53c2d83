"""`normxlogit generate`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from normxlogit.cli import terminal
from normxlogit.cli.checks import check_method, check_model, check_readout, check_sampling
from normxlogit.cli.errors import quiet, reporting
from normxlogit.cli.io import (
    check_output,
    check_utf8,
    note_file_names,
    read_text,
    read_texts,
    use_utf8,
    write_results,
)
from normxlogit.cli.model import ModelOptions, load
from normxlogit.cli.options import (
    Debug,
    Device,
    Dtype,
    Format,
    GgufFile,
    LanguageModel,
    Method,
    Output,
    OutputFormat,
    Reduce,
    Revision,
    TrustRemoteCode,
    Words,
    find_format,
    word_reduction,
)
from normxlogit.data.utf8 import lone_surrogate
from normxlogit.errors import InputError

if TYPE_CHECKING:
    from normxlogit.explainer import Explainer
    from normxlogit.results.generation import GenerationAttribution


def generate(
    prompt: Annotated[
        str | None,
        typer.Argument(
            metavar="PROMPT", help="What to continue. Without it, or as '-', standard input."
        ),
    ] = None,
    model: LanguageModel = "",
    chat: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A chat to answer: a JSON list of messages, each with role and content, or an "
            "object with such messages.",
        ),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Read the prompt from a file (UTF-8).")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(help="How many tokens to generate at most.")] = 128,
    sample: Annotated[
        bool, typer.Option("--sample", help="Sample tokens rather than take the likeliest.")
    ] = False,
    temperature: Annotated[
        float | None, typer.Option(help="With --sample: below 1, likely tokens become likelier.")
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(
            help="With --sample: draw from the likeliest tokens of this total probability."
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="With --sample: the same seed draws the same tokens.")
    ] = 0,
    num_beams: Annotated[
        int,
        typer.Option(
            min=1,
            help="How many beams to search with; above 1, the answer is printed at the end only.",
        ),
    ] = 1,
    stop: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="Stop after this text; may be given several times."),
    ] = None,
    method: Method = "normxlogit",
    readout: Annotated[
        str | None,
        typer.Option(help="The number read from the head: logit, margin, logprob, centered."),
    ] = None,
    words: Words = True,
    reduce: Reduce = None,
    special: Annotated[
        bool, typer.Option("--special", help="Show special tokens and sinks too.")
    ] = False,
    named_format: OutputFormat = None,
    output: Output = None,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    gguf_file: GgufFile = None,
    trust_remote_code: TrustRemoteCode = False,
    debug: Debug = False,
) -> None:
    """Generate text, and show which tokens each part of it rests on.

    Example: normxlogit generate --model HuggingFaceTB/SmolLM2-135M-Instruct "The capital of France
    is"
    """
    use_utf8()
    if not model:
        raise typer.BadParameter("name a language model with --model.")
    with reporting(debug):
        prompt_or_chat = _read_prompt(prompt, chat, file)
        if isinstance(prompt_or_chat, str):
            from normxlogit.text.validation import check_text

            check_text([prompt_or_chat], False)
        note_file_names([] if prompt is None else [prompt])
        check_output(output)
        output_format = find_format(named_format, output)
        reduction = word_reduction(words, reduce)
        sampling = {"temperature": temperature, "top_p": top_p}
        if not sample and any(value is not None for value in sampling.values()):
            raise typer.BadParameter("--temperature and --top-p go with --sample.")
        if "" in (stop or []):
            raise typer.BadParameter(
                "--stop '' is empty, and every answer contains the empty text."
            )
        check_utf8(stop or [])
        check_sampling(max_new_tokens, temperature, top_p)
        options: dict[str, Any] = {
            "method": method,
            "readout": readout,
            "max_new_tokens": max_new_tokens,
            "do_sample": sample,
            "num_beams": num_beams,
            "stop_strings": stop or None,
            **{name: value for name, value in sampling.items() if value is not None},
        }
        named = ModelOptions(model, revision, device, dtype, gguf_file, trust_remote_code)
        check_model(named)
        check_method(method, {}, None)
        check_readout(readout)
        with quiet(debug):
            explainer = load(named)
            if sample:
                import torch

                torch.manual_seed(seed)
            live = output_format is Format.TEXT and output is None and num_beams == 1
            if live:
                result = _stream(explainer, prompt_or_chat, options)
            else:
                result = explainer.generate(prompt_or_chat, **options)
            write_results(
                [result],
                output_format,
                output,
                reduction=reduction,
                special=special,
                count=1,
                streamed=live,
            )


def _read_prompt(prompt: str | None, chat: Path | None, file: Path | None) -> Any:
    """Return the prompt, or the messages of a chat."""
    if chat is None:
        example = 'normxlogit generate --model MODEL "Once upon a time"'
        return read_texts([] if prompt is None else [prompt], file, example)[0]
    if prompt is not None or file is not None:
        raise typer.BadParameter("give either PROMPT or --chat, not both.")
    return read_chat(chat)


def read_chat(chat: Path, call: str = "generate") -> list[Any]:
    """Return the messages of a chat in a file of JSON.

    Args:
        chat: the file.
        call: the method of `Explainer` that takes what a command does not.

    Raises:
        InputError: it holds something else.
    """
    text = read_text(chat)
    try:
        messages = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{chat} is not JSON: {error}.") from error
    if isinstance(messages, dict) and "messages" in messages:
        for name in ("tools", "documents"):
            if messages.get(name):
                raise InputError(
                    f"{chat} has {name} beside its messages, which this command does not pass on. "
                    f"Use Explainer.{call}(messages, {name}=...) in Python."
                )
        messages = messages["messages"]
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise InputError(f"{chat} is not a list of messages, each with role and content.")
    if lone_surrogate(json.dumps(messages, ensure_ascii=False)):
        raise InputError(f"{chat} has half a character: a \\ud800 to \\udfff without its pair.")
    if not messages:
        raise InputError(f"{chat} has no messages.")
    return messages


def _stream(
    explainer: "Explainer", prompt: Any, options: dict[str, Any]
) -> "GenerationAttribution":
    """Print the answer while it is generated; return its attribution."""
    from rich.text import Text

    from normxlogit.show.terminal import field

    printed = ""
    with explainer.generate_stream(prompt, **options) as stream:
        terminal.console().print(field("Answer", Text()), end="")
        for step in stream:
            # A character of several tokens decodes to U+FFFD until its last token is there.
            answer = terminal.shown(step.answer.lstrip().rstrip("\ufffd"))
            terminal.write(answer.removeprefix(printed))
            printed = answer
    terminal.write("\n\n")
    assert stream.result is not None
    return stream.result
