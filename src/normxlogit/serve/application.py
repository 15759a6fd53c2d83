"""The application: the API of some models, to be served by any ASGI server.

Pages are mounted into what `create_app` returns, at addresses of their own; the gate in front holds
for them too. An answer that sets a content security policy keeps it.
"""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from normxlogit.errors import NormXLogitError
from normxlogit.extras import VERSION
from normxlogit.serve.answers import error_response
from normxlogit.serve.endpoints import make_router
from normxlogit.serve.gate import Access, Gate, Traffic
from normxlogit.serve.limits import Limits, status_of
from normxlogit.serve.metrics import Metrics
from normxlogit.serve.models import Models
from normxlogit.serve.pages import make_pages
from normxlogit.serve.reference import reference_page


def create_app(
    models: Models,
    *,
    limits: Limits | None = None,
    access: Access | None = None,
    traffic: Traffic | None = None,
    metrics: Metrics | None = None,
) -> FastAPI:
    """Return the application.

    Args:
        models: what it serves.
        limits: how much a request may ask for.
        access: who may ask.
        traffic: what the application keeps count in; whoever runs it stops it by this.
        metrics: what counts its requests.
    """
    limits, access, metrics = limits or Limits(), access or Access(), metrics or Metrics()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as threads:
            for model in models.served:
                threads.enter_context(model.running(limits, metrics))
            yield

    app = FastAPI(
        title="normxlogit",
        version=VERSION,
        description="Which input tokens a model's prediction rests on.",
        lifespan=lifespan,
        docs_url=None,  # loads scripts from elsewhere; ours is below
        redoc_url=None,
    )
    app.include_router(make_router(models, limits, metrics))
    app.include_router(make_pages())
    app.add_exception_handler(NormXLogitError, _tell)
    app.add_exception_handler(RequestValidationError, _tell_invalid)
    app.add_exception_handler(HTTPException, _tell_http)
    metrics.name_paths(app.openapi()["paths"])
    page = reference_page(app.openapi())

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        # The page has a policy of its own for everything else.
        return HTMLResponse(page, headers={"Content-Security-Policy": "frame-ancestors 'none'"})

    app.add_middleware(
        Gate, access=access, limits=limits, traffic=traffic or Traffic(), metrics=metrics
    )
    if access.origins:
        # In front of the gate, so that pages can read what it answers, too.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(access.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
        )
    return app


def _tell(_request: Request, error: Exception) -> Response:
    assert isinstance(error, NormXLogitError)
    return error_response(status_of(error), str(error))


def _tell_invalid(request: Request, error: Exception) -> Response:
    """Tell the first thing that is wrong with a request: 400 if it is no JSON."""
    assert isinstance(error, RequestValidationError)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        return error_response(
            415,
            f"the request is of type {kind or 'none'!r:.80}. Send JSON, with the header "
            "'Content-Type: application/json'.",
        )
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        reason = first.get("ctx", {}).get("error", "it cannot be read")
        return error_response(400, f"the request is no JSON: {reason}.")
    place = ".".join(str(part) for part in first["loc"][1:]) or "the request"
    return error_response(422, f"{place}: {first['msg']}. /docs says what a request holds.")


def _tell_http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    messages = {
        400: "the request cannot be read as JSON.",
        404: "there is no such page.",
        405: "this page takes another method.",
    }
    message = messages.get(error.status_code, f"{error.detail}.")
    return error_response(error.status_code, message, error.headers)
