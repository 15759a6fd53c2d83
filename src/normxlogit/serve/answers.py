"""Answers as JSON, and how errors are told."""

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import Response

from normxlogit.data.plain import dump_json
from normxlogit.serve.limits import BusyError, UnavailableError

_AGAIN = {BusyError.status: 1, UnavailableError.status: 5}
"""After how many seconds a client may try again."""


def to_json(data: Any) -> bytes:
    """Return plain data as JSON; half a surrogate pair, which UTF-8 has not, as its escape.

    Raises:
        InputError: it holds infinity or nan.
    """
    return dump_json(data).encode("utf-8", "backslashreplace")


def to_json_list(values: Iterable[bytes]) -> bytes:
    """Return values in JSON as a list of them."""
    return b"[" + b",".join(values) + b"]"


def json_response(
    content: bytes, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an answer that holds JSON."""
    return Response(content, status, headers, media_type="application/json")


def error_data(status: int, message: str) -> dict[str, Any]:
    """Return what clients are told of an error: its status and one line."""
    return {"error": {"status": status, "message": " ".join(message.split())}}


def error_response(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer that tells an error."""
    again = {"Retry-After": str(_AGAIN[status])} if status in _AGAIN else {}
    return json_response(to_json(error_data(status, message)), status, {**again, **(headers or {})})
