"""Optional packages, and the versions of what is installed."""

from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
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
        raise _missing(module, extra, need) from error


def check_installed(modules: Iterable[str], extra: str) -> None:
    """Raise `MissingExtraError` unless these packages are installed, which are not imported."""
    for module in modules:
        if find_spec(module) is None:
            raise _missing(module, extra)


def _missing(module: str, extra: str, need: str | None = None) -> MissingExtraError:
    need = need or f"this needs {module.partition('.')[0]}"
    return MissingExtraError(f'{need}. Install it with: pip install "normxlogit[{extra}]"')


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
