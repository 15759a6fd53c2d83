"""Optional packages, and the versions of what is installed."""

from contextlib import suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from normxlogit.errors import MissingExtraError

VERSION = version("normxlogit")


def require(module: str, extra: str = "corpus", *, need: str | None = None) -> Any:
    """Import a module that belongs to an optional extra.

    Args:
        module: its dotted name.
        extra: the extra.
        need: what needs which package, for the message; "this needs MODULE" if not given.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        need = need or f"this needs {module.partition('.')[0]}"
        raise MissingExtraError(
            f'{need}. Install it with: pip install "normxlogit[{extra}]"'
        ) from error


def versions(*packages: str) -> dict[str, str]:
    """Return versions of normxlogit, torch, transformers and any installed `packages`."""
    import torch
    import transformers

    installed = {
        "normxlogit": VERSION,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    for package in packages:
        with suppress(PackageNotFoundError):
            installed[package] = version(package)
    return installed
