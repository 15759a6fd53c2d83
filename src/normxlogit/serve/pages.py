"""The app: a page at `/` that is a client of the API, and the drawing of results for it."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict

from normxlogit.methods.catalogue import CATALOGUE
from normxlogit.results import comparison, sources
from normxlogit.results.base import Result
from normxlogit.results.comparison import Comparison
from normxlogit.results.sources import SourceAttribution
from normxlogit.results.text import Attribution
from normxlogit.serve.answers import json_response, to_json
from normxlogit.serve.trials import trial
from normxlogit.show import dispatch, html, phrases
from normxlogit.show.templating import fill

_POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data:",
        # Bars and colours have their numbers in style attributes; these can load nothing that the
        # rest of the policy does not let them. See `show.policy`.
        "style-src-attr 'unsafe-inline'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

_TYPES = {"css": "text/css", "js": "text/javascript"}
_DRAWN = (
    *("fragment.css", "comparison.css", "generation.css", "sources.css", "page.css"),
    *("sortable.css", "sortable.js", "generation.js", "sources.js"),
)
"""The style sheets and scripts of what `show` draws."""
_APP = (
    *("app.css", "address.js", "api.js", "app.js", "chat.js", "csv.js", "dom.js", "form.js"),
    *("table.js", "trial.js"),
)


class DrawRequest(BaseModel):
    """A result to draw: what the API answered, as it answered it."""

    model_config = ConfigDict(extra="forbid")

    result: dict[str, Any]


def make_pages() -> APIRouter:
    """Return the addresses of the app."""
    router = APIRouter(include_in_schema=False, default_response_class=Response)
    methods = [method for method in CATALOGUE.values() if method.family != "baseline"]
    page = str(fill("app.html", {"methods": methods, "caveat": phrases.CAVEAT}, __package__))
    # All that can be asked for, by name: no request leads to any other file.
    assets = {name: _read("normxlogit.show", name) for name in _DRAWN}
    assets |= {name: _read(f"{__package__}", f"static/{name}") for name in _APP}

    @router.get("/")
    async def app() -> Response:
        return Response(page, media_type="text/html", headers={"Content-Security-Policy": _POLICY})

    @router.get("/static/{name}")
    async def static(name: str) -> Response:
        if name not in assets:
            return Response(status_code=404)
        return Response(assets[name], media_type=_TYPES[name.rpartition(".")[2]])

    # Not async: it takes a while, so it runs in a thread.
    @router.post("/app/draw")
    def draw(asked: DrawRequest) -> Response:
        """Draw a result as its page does: HTML for an article, and where its words stand."""
        result = _read_result(asked.result)
        article = dispatch.article(result)
        drawn = {
            "html": str(fill("articles.html", {"articles": [article]}, html.__package__)),
            "scripts": [] if article.body is None else list(article.body.scripts),
            "trial": trial(result) if isinstance(result, Attribution) else None,
        }
        return json_response(to_json(drawn))

    return router


def _read(package: str, name: str) -> bytes:
    return files(package).joinpath(name).read_bytes()


def _read_result(data: Mapping[str, Any]) -> dispatch.Shown:
    """Return a result of any kind from its data.

    Raises:
        InputError: it is none.
    """
    schema = data.get("schema")
    if schema == sources.SCHEMA:
        return SourceAttribution.from_dict(data)
    if schema == comparison.SCHEMA:
        return Comparison.from_dict(data)
    return Result.from_dict(data)
