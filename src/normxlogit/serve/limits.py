"""How much a request may ask for, and what is refused, each with its status of HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from normxlogit.errors import (
    InputError,
    MissingExtraError,
    NormXLogitError,
    OptionError,
    TooLongError,
    UnsupportedHeadError,
)

TOGETHER = 32
"""How many texts of waiting requests are explained in one batch at most."""

GATHERED = 0.004
"""Seconds for which a request waits for others to share its batch, while the model is busy."""

_REPEATS = {"n_steps": 500, "ablations": 500}
"""Options that say how often a method runs the model, with the most of each."""


class RequestError(NormXLogitError):
    """A request that is answered by an error.

    Attributes:
        status: the status of HTTP.
    """

    status = 400


class NotFoundError(RequestError):
    """There is no such model, or page."""

    status = 404


class TooLargeError(RequestError):
    """The request holds more than is allowed."""

    status = 413


class BusyError(RequestError):
    """Too many requests are waiting."""

    status = 429


class LeftError(RequestError):
    """The client has left, and nobody reads the answer; the status is nginx's, for metrics."""

    status = 499


class UnavailableError(RequestError):
    """The model did not load, or the server stops."""

    status = 503


class LateError(RequestError):
    """The answer took too long."""

    status = 504


@dataclass(frozen=True)
class Limits:
    """The most of everything.

    Attributes:
        characters: of a text with all its parts.
        items: texts in a request.
        body: bytes of a request.
        queue: requests that wait for a model.
        seconds: from a request to its answer.
        new_tokens: that are generated for an answer.
    """

    characters: int = 20_000
    items: int = 256
    body: int = 2**20
    queue: int = 256
    seconds: float = 60
    new_tokens: int = 1024

    def check_items(self, count: int) -> None:
        """Raise `TooLargeError` for too many texts, `InputError` for none."""
        if not count:
            raise InputError("there is no text: the list is empty.")
        if count > self.items:
            raise TooLargeError(
                f"a request may hold {self.items} texts, and this one has {count}. Send several."
            )

    def check_characters(self, count: int) -> None:
        """Raise `TooLargeError` for a text of too many characters."""
        if count > self.characters:
            raise TooLargeError(
                f"a text may have {self.characters} characters here, and this one has {count}. "
                "Send it in parts."
            )

    def check_new_tokens(self, count: int) -> None:
        """Raise `OptionError` for more tokens than may be generated."""
        if count > self.new_tokens:
            raise OptionError(f"max_new_tokens may be {self.new_tokens} at most here, got {count}.")


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse options of a method that would read a file, or run the model without end.

    Raises:
        OptionError: it is one of these.
    """
    for name in ("head", "weights"):
        if name in options:
            raise OptionError(
                f"option {name!r} names a file of the server, which no request can. The head that "
                "the server was started with is used."
            )
    for name, most in _REPEATS.items():
        value = options.get(name)
        if isinstance(value, (int, float)) and value > most:
            raise OptionError(f"{name} may be {most} at most here, got {value}.")


_STATUSES = (
    (TooLongError, TooLargeError.status),
    (InputError, 422),
    (OptionError, 422),
    (UnsupportedHeadError, 422),
    (MissingExtraError, 501),
)
"""The first that fits counts; all else is the server's own fault."""


def status_of(error: NormXLogitError) -> int:
    """Return the status of HTTP for an error of this package."""
    if isinstance(error, RequestError):
        return error.status
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
