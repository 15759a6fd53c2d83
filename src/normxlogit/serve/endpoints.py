"""The addresses of the API."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from normxlogit.explainer import Explainer
from normxlogit.results.base import Result
from normxlogit.results.text import Attribution, Failure
from normxlogit.serve.answers import json_response, to_json, to_json_list
from normxlogit.serve.events import Writer, event_stream
from normxlogit.serve.limits import LateError, LeftError, Limits
from normxlogit.serve.metrics import CONTENT_TYPE, Metrics
from normxlogit.serve.models import Models
from normxlogit.serve.schemas import (
    CompareRequest,
    ExplainRequest,
    GenerateRequest,
    SourcesRequest,
    length_of,
)

T = TypeVar("T")


def make_router(models: Models, limits: Limits, metrics: Metrics) -> APIRouter:
    """Return the addresses, for these models."""
    router = APIRouter(default_response_class=Response)

    @router.post("/v1/explain", tags=["texts"])
    async def explain(body: ExplainRequest, request: Request) -> Response:
        """Explain a text, or a list of texts, by one method.

        The answer to a text is an attribution as JSON; to a list, a list of these, with a failure
        in the place of each text that cannot be explained.
        """
        model = models.find(body.model)
        model.check_serves("explain")
        items, is_list = body.items(limits)
        explained = model.together(
            _explaining(model.explainer, body),
            items,
            key=body.key(),
            length=max(map(length_of, items)),
        )
        results = await _in_time(request, explained, limits)
        if is_list:
            return json_response(to_json_list(_or_failure(result) for result in results))
        (result,) = results
        if isinstance(result, Failure):
            raise result.error
        return json_response(result)

    @router.post("/v1/compare", tags=["texts"])
    async def compare(body: CompareRequest, request: Request) -> Response:
        """Explain a text by several methods, side by side."""
        model = models.find(body.model)
        model.check_serves("compare")
        body.check()
        item, shared = body.item(limits), body.shared()

        def compared() -> bytes:
            return to_json(model.explainer.compare(item, body.methods, **shared).to_dict())

        return await _alone(request, model.alone("compare", compared), limits)

    @router.post("/v1/verify", tags=["texts"])
    async def verify(body: ExplainRequest, request: Request) -> Response:
        """Explain a text, and hide words of it to see how far the scores hold."""
        model = models.find(body.model)
        model.check_serves("verify")
        explainer = model.explainer
        item, arguments = body.item(limits), body.arguments(has_head=explainer.head is not None)

        def verified() -> bytes:
            (result,) = explainer.explain([item], **arguments)
            if isinstance(result, Failure):
                raise result.error
            return to_json(explainer.verify(_of_unit(result, body)).to_dict())

        return await _alone(request, model.alone("verify", verified), limits)

    @router.post("/v1/generate", tags=["language models"])
    async def generate(body: GenerateRequest, request: Request) -> Response:
        """Generate text, and explain every new token.

        The answer is a stream of events: "token", with the token, its probability and the answer
        so far; and at last "result", the attribution of the whole as JSON, or "error". Without a
        stream it is the result alone.
        """
        model = models.find(body.model)
        model.check_serves("generate")
        prompt, arguments = body.question(limits), body.arguments(limits)
        until = time.monotonic() + limits.seconds
        writer = Writer(model, prompt, arguments)
        try:
            if not body.stream:
                return json_response(await _in_time(request, writer.result(), limits))
            # Errors that come before the first token still have a status of their own.
            events = writer.events()
            first = await _in_time(request, anext(events), limits)
        except BaseException:
            writer.stop()
            raise
        return StreamingResponse(
            event_stream(writer, first, events, until), media_type="text/event-stream"
        )

    @router.post("/v1/sources", tags=["language models"])
    async def sources(body: SourcesRequest, request: Request) -> Response:
        """Answer a question from sources, and say which of them the answer rests on."""
        model = models.find(body.model)
        model.check_serves("sources")
        question, arguments = body.question_or_chat(limits), body.arguments(limits)

        def answered() -> bytes:
            return to_json(model.explainer.sources(question, **arguments).to_dict())

        return await _alone(request, model.alone("sources", answered), limits)

    @router.get("/v1/models", tags=["server"])
    async def list_models() -> Response:
        """Say which models there are, and what each can do."""
        about = {
            "models": [model.about() for model in models.served],
            "failed": models.failed,
            "limits": vars(limits),
        }
        return json_response(to_json(about))

    @router.get("/healthz", tags=["server"])
    async def healthz() -> Response:
        """Say that the server answers; while it stops, the status is 503."""
        return json_response(to_json({"status": "ok"}))

    @router.get("/metrics", tags=["server"])
    async def read_metrics() -> Response:
        """Say what Prometheus reads."""
        return Response(await metrics.text(), media_type=CONTENT_TYPE)

    return router


def _explaining(
    explainer: Explainer, body: ExplainRequest
) -> Callable[[Sequence[Any]], list[bytes | Failure]]:
    """Return what explains texts as a request says: for each its result as JSON, or its failure."""
    arguments = body.arguments(has_head=explainer.head is not None)

    def explain(items: Sequence[Any]) -> list[bytes | Failure]:
        return [
            result if isinstance(result, Failure) else to_json(_of_unit(result, body).to_dict())
            for result in explainer.explain(list(items), **arguments)
        ]

    return explain


def _of_unit(result: Result, body: ExplainRequest) -> Result:
    """Return scores of what a request names: tokens, words or sentences."""
    if body.unit == "token" or not isinstance(result, Attribution):
        return result
    return result.words(body.reduce) if body.unit == "word" else result.sentences(body.reduce)


def _or_failure(result: bytes | Failure) -> bytes:
    return to_json(result.to_dict()) if isinstance(result, Failure) else result


async def _alone(request: Request, answer: Awaitable[bytes], limits: Limits) -> Response:
    return json_response(await _in_time(request, answer, limits))


async def _in_time(request: Request, answer: Awaitable[T], limits: Limits) -> T:
    """Wait for an answer; give up where the client leaves, or it takes too long.

    Raises:
        LeftError: the client has left.
        LateError: it takes too long.
    """
    answering = asyncio.ensure_future(answer)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait(
            {answering, leaving}, timeout=limits.seconds, return_when=asyncio.FIRST_COMPLETED
        )
        if answering.done():
            return answering.result()
        if leaving.done():
            raise LeftError("the client has left.")
        raise LateError(
            f"there was no answer within {limits.seconds:g} seconds. Ask for less, or later."
        )
    finally:
        leaving.cancel()
        answering.cancel()


async def _left(request: Request) -> None:
    """Wait until the client leaves."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
