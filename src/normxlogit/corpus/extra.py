"""What the extras `corpus` and `evaluate` bring."""

from importlib import import_module
from typing import Any

from normxlogit.errors import MissingExtraError


def require(module: str, extra: str = "corpus") -> Any:
    """The module of that name, which an extra brings.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"this needs {module.partition('.')[0]}. "
            f'Install it with: pip install "normxlogit[{extra}]"'
        ) from error
