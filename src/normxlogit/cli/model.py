"""Loading the model that a command names."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from normxlogit.cli import terminal

if TYPE_CHECKING:
    from normxlogit.explainer import Explainer

HUB_TIMEOUT = 5
"""How many seconds the Hub has to answer before it counts as unreachable."""


@dataclass(frozen=True)
class ModelOptions:
    """The options by which every command names a model, see `options`."""

    model: str
    revision: str | None
    device: str
    dtype: str
    gguf_file: str | None
    trust_remote_code: bool
    head: str | None = None


def load(options: ModelOptions) -> "Explainer":
    """Load a model, with a spinner on a terminal."""
    prefer_cache(options.model)
    console = terminal.console(err=True)
    gguf = {} if options.gguf_file is None else {"gguf_file": options.gguf_file}
    with console.status("Loading") if console.is_terminal else contextlib.nullcontext():
        from normxlogit.explainer import Explainer
        from normxlogit.tasks.head_of_model import read_head

        # Before the model, which takes longer to load than a wrong file to refuse.
        head = None if options.head is None else read_head(options.head)
        return Explainer.from_pretrained(
            options.model,
            revision=options.revision,
            device=options.device,
            dtype=options.dtype,
            trust_remote_code=options.trust_remote_code,
            head=head,
            **gguf,
        )


def prefer_cache(name: str) -> None:
    """Work offline if `name` is to be found on the Hub and the Hub does not answer.

    The Hub's client falls back to its cache by itself, but retries each of the eight requests that
    loading takes for 24 seconds first: three minutes for a model that is in the cache. No setting
    shortens that, and `local_files_only` does not reach all of the eight. So one request without
    retries decides.
    """
    if name == "demo" or Path(name).exists():
        return
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=HUB_TIMEOUT)
    except Exception:  # of the HTTP library, which differs between versions; or offline already
        constants.HF_HUB_OFFLINE = True
        os.environ["HF_HUB_OFFLINE"] = "1"  # for datasets, which reads it on import


def prefer_cached_data(source: str) -> None:
    """Call `prefer_cache` for the id of a data set; URIs and paths with a suffix are none."""
    if "://" not in source and not Path(source).suffix:
        prefer_cache(source)
