"""`normxlogit generate`."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from normxlogit.cli.common import (
    Debug,
    Device,
    Dtype,
    Format,
    Gguf,
    Method,
    Output,
    Revision,
    Shape,
    Trust,
    Words,
    bytes_of,
    check_output,
    check_utf8,
    decoded,
    is_utf8,
    load,
    quiet,
    reporting,
    show,
    texts_of,
    write_utf8,
)
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
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", help="A language model on the Hugging Face Hub, or a folder."
        ),
    ] = "",
    chat: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A chat to answer: a JSON list of messages, each with role and content.",
        ),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Read the prompt from a file (UTF-8).")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(help="How many tokens to generate at most.")] = 128,
    sample: Annotated[
        bool, typer.Option("--sample", help="Draw tokens rather than take the likeliest.")
    ] = False,
    temperature: Annotated[
        float | None, typer.Option(help="With --sample: below 1 the likelier are likelier.")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(help="With --sample: draw from the likeliest of this mass.")
    ] = None,
    seed: Annotated[int, typer.Option(help="With --sample: the same draws again.")] = 0,
    num_beams: Annotated[
        int, typer.Option(min=1, help="Search with so many beams; the answer comes at the end.")
    ] = 1,
    stop: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="Stop after this text.")
    ] = None,
    method: Method = "normxlogit",
    readout: Annotated[
        str | None,
        typer.Option(help="The number read from the head: logit, margin, logprob, centered."),
    ] = None,
    words: Words = True,
    special: Annotated[
        bool, typer.Option("--special", help="Show special tokens and sinks too.")
    ] = False,
    form: Shape = Format.TEXT,
    output: Output = None,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    gguf_file: Gguf = None,
    trust_remote_code: Trust = False,
    debug: Debug = False,
) -> None:
    """Generate text, and show what each part of it rests on.

    Example: normxlogit generate --model HuggingFaceTB/SmolLM2-135M-Instruct "The capital of France
    is"
    """
    write_utf8()
    if not model:
        raise typer.BadParameter("say with --model which language model to use.")
    with reporting(debug):
        asked = _prompt(prompt, chat, file)
        check_output(output)
        drawn = {"temperature": temperature, "top_p": top_p}
        if not sample and any(value is not None for value in drawn.values()):
            raise typer.BadParameter("--temperature and --top-p go with --sample.")
        if "" in (stop or []):
            raise typer.BadParameter("--stop '' is empty, and every answer holds that.")
        check_utf8(stop or [])
        options: dict[str, Any] = {
            "max_new_tokens": max_new_tokens,
            "do_sample": sample,
            "num_beams": num_beams,
            "stop_strings": stop or None,
            **{name: value for name, value in drawn.items() if value is not None},
        }
        with quiet(debug):
            explainer = load(
                model,
                revision=revision,
                device=device,
                dtype=dtype,
                gguf_file=gguf_file,
                trust_remote_code=trust_remote_code,
            )
            if sample:
                import torch

                torch.manual_seed(seed)
            how = {"method": method, "readout": readout, **options}
            live = form is Format.TEXT and output is None and num_beams == 1
            result = _streamed(explainer, asked, how) if live else explainer.generate(asked, **how)
            show([result], form, output, words=words, special=special, count=1)


def _prompt(prompt: str | None, chat: Path | None, file: Path | None) -> Any:
    """The prompt, or the messages of a chat."""
    if chat is None:
        example = 'normxlogit generate --model MODEL "Once upon a time"'
        return texts_of([] if prompt is None else [prompt], file, example)[0]
    if prompt is not None or file is not None:
        raise typer.BadParameter("give either PROMPT or --chat, not both.")
    text = decoded(bytes_of(chat), str(chat))
    try:
        messages = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{chat} is not JSON: {error}.") from error
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise InputError(f"{chat} is not a list of messages, each with role and content.")
    if not is_utf8(json.dumps(messages, ensure_ascii=False)):
        raise InputError(f"{chat} holds half a character: a \\ud800 to \\udfff without its pair.")
    if not messages:
        raise InputError(f"{chat} has no messages.")
    return messages


def _streamed(explainer: "Explainer", prompt: Any, how: dict[str, Any]) -> "GenerationAttribution":
    """Print the answer as it is made, and return it whole."""
    said = ""
    with explainer.generate_stream(prompt, **how) as stream:
        for step in stream:
            sure = step.answer.rstrip("\ufffd")
            sys.stdout.write(sure.removeprefix(said))
            sys.stdout.flush()
            said = sure
    sys.stdout.write("\n\n")
    assert stream.result is not None
    return stream.result
