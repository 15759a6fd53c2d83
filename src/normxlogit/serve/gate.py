"""What every request passes before it is read: who may ask, from where, and how much."""

import asyncio
import hmac
import logging
import time
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from normxlogit.serve.answers import error_response
from normxlogit.serve.limits import LeftError, Limits, TooLargeError, UnavailableError
from normxlogit.serve.metrics import Metrics

_log = logging.getLogger(__name__)

LOCAL = ("127.0.0.1", "localhost", "::1")
"""The names by which a machine calls itself."""

_OPEN = ("/healthz",)
"""Pages that need no key: whoever watches the server has none."""
_LOCKED = ("/v1/", "/app/", "/metrics")
"""Where paths that need the key begin."""

_HEADERS = {
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    b"cache-control": b"no-store",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}
"""Of every answer, unless it has its own. Nothing in an answer may run, load, or be embedded."""

_DISCARDED = 2**28
"""How many bytes of a body that is too large are read, and thrown away, before it is refused. Most
clients read no answer before they have sent everything."""


@dataclass
class Traffic:
    """What goes on in a server.

    Attributes:
        stopping: whether new requests are refused, for the server stops.
        under_way: how many requests are being answered.
    """

    stopping: bool = False
    under_way: int = 0


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        key: what requests must bring along; None if they need nothing.
        origins: pages of other servers that may ask, such as "https://example.org".
        is_local: whether the server listens on this machine alone. Then only names of it are let
            through, else a page could call itself by a name that leads here.
    """

    key: str | None = None
    origins: Collection[str] = ()
    is_local: bool = True

    def refusal(self, path: str, headers: Headers) -> Response | None:
        """Return the answer to a request that may not be; None for one that may."""
        host = headers.get("host", "")
        hosts = [urlsplit(origin).netloc for origin in self.origins]
        if self.is_local and _name_of(host) not in LOCAL and host not in hosts:
            return error_response(
                421,
                f"this server is not {host!r:.80}. Behind a proxy start it with --allow-origin and "
                "the address that browsers see.",
            )
        origin = headers.get("origin")
        if origin is not None and origin not in self.origins and urlsplit(origin).netloc != host:
            return error_response(
                403,
                f"pages of {origin!r:.80} may not ask this server. Start it with --allow-origin to "
                "let them.",
            )
        if self.key is not None and path not in _OPEN and path.startswith(_LOCKED):
            kind, _, key = headers.get("authorization", "").partition(" ")
            is_right = hmac.compare_digest(key.encode(), self.key.encode())
            if kind.lower() != "bearer" or not is_right:
                return error_response(
                    401,
                    "this server asks for a key. Send the header 'Authorization: Bearer KEY'.",
                    {"WWW-Authenticate": "Bearer"},
                )
        return None


class Gate:
    """Lets requests through to an application, or answers them itself; counts both."""

    def __init__(
        self, app: ASGIApp, *, access: Access, limits: Limits, traffic: Traffic, metrics: Metrics
    ) -> None:
        self._app, self._access, self._limits = app, access, limits
        self._traffic, self._metrics = traffic, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status: int | None = None
        start = time.perf_counter()

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"] = list(message.get("headers", []))
                names = {name.lower() for name, _ in headers}
                headers.extend(item for item in _HEADERS.items() if item[0] not in names)
                if self._traffic.stopping:
                    headers.append((b"connection", b"close"))
            await send(message)

        self._traffic.under_way += 1
        try:
            await self._answer(scope, receive, send_with_headers)
        except Exception:
            _log.exception("a request to %s failed", self._metrics.name_of(scope["path"]))
            if status is None:
                refusal = error_response(500, "the server failed. Its log says why.")
                await refusal(scope, receive, send_with_headers)
        finally:
            self._traffic.under_way -= 1
            seconds = time.perf_counter() - start
            self._metrics.answered(scope["path"], status or LeftError.status, seconds)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._access.refusal(scope["path"], Headers(scope=scope))
        if refusal is None and self._traffic.stopping:
            refusal = error_response(UnavailableError.status, "the server stops. Ask another.")
        if refusal is None:
            try:
                body = await asyncio.wait_for(self._body(receive), self._limits.seconds)
            except TooLargeError as error:
                refusal = error_response(error.status, str(error))
            except asyncio.TimeoutError:
                refusal = error_response(408, "the request did not arrive in time. Send it again.")
            else:
                if body is None:
                    return
                await self._app(scope, _first(body, receive), send)
                return
        await refusal(scope, receive, send)

    async def _body(self, receive: Receive) -> bytes | None:
        """Return a request's body; None if the client leaves before it is complete.

        Raises:
            TooLargeError: it is larger than is allowed.
        """
        chunks, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            chunk = message.get("body", b"")
            size += len(chunk)
            if size <= self._limits.body:
                chunks.append(chunk)
            if not message.get("more_body", False) or size > _DISCARDED:
                break
        if size > self._limits.body:
            raise TooLargeError(
                f"a request may have {self._limits.body} bytes, and this one has more. Send it in "
                "parts."
            )
        return b"".join(chunks)


def _first(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the whole body, and then what else comes."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_body() -> Message:
        return messages.pop() if messages else await receive()

    return receive_body


def _name_of(host: str) -> str:
    """Return a host without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
