"""What the extra `corpus` brings."""

from importlib import import_module
from typing import Any

from normxlogit.errors import MissingExtraError


def require(module: str) -> Any:
    """The module of that name.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"this needs {module.partition('.')[0]}. "
            'Install it with: pip install "normxlogit[corpus]"'
        ) from error
