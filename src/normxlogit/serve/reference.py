"""The page that describes the API: made of its OpenAPI, with nothing from elsewhere."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from normxlogit.show.html import document
from normxlogit.show.templating import fill

_STYLE = Markup("dt { margin-top: .6em; overflow-wrap: anywhere; }\ndd { margin-left: 1.5em; }\n")


@dataclass(frozen=True)
class Field:
    """A field of a request, in words: its name, its type and default, what it is."""

    name: str
    form: str
    description: str


@dataclass(frozen=True)
class Endpoint:
    """An address with what is said of it."""

    method: str
    path: str
    paragraphs: list[str]
    fields: list[Field]


def reference_page(schema: Mapping[str, Any]) -> str:
    """Return the page of an OpenAPI schema."""
    values = {
        "version": schema["info"]["version"],
        "description": schema["info"]["description"],
        "endpoints": list(_endpoints(schema)),
    }
    main = fill("reference.html", values, package=__package__)
    return document("normxlogit: the API", main, _STYLE)


def _endpoints(schema: Mapping[str, Any]) -> Iterator[Endpoint]:
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            paragraphs = str(operation.get("description", "")).split("\n\n")
            body = operation.get("requestBody")
            fields = []
            if body is not None:
                request = _resolved(body["content"]["application/json"]["schema"], schema)
                required = request.get("required", ())
                fields = [
                    _field(name, part, is_required=name in required)
                    for name, part in request["properties"].items()
                ]
            yield Endpoint(method.upper(), path, paragraphs, fields)


def _resolved(part: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a part of the schema, or the one that it refers to."""
    while "$ref" in part:
        name = part["$ref"].rpartition("/")[2]
        part = schema["components"]["schemas"][name]
    return part


def _field(name: str, part: Mapping[str, Any], *, is_required: bool) -> Field:
    form, default = _type(part), part.get("default")
    if is_required:
        form += ", required"
    elif default not in (None, {}):
        form += f", {json.dumps(default)} if not given"
    return Field(name, form, part.get("description", ""))


def _type(part: Mapping[str, Any]) -> str:
    """Return a type in words, without null, which is the default of what may be left out."""
    if "$ref" in part:
        return str(part["$ref"].rpartition("/")[2]).lower()
    if "anyOf" in part:
        types = dict.fromkeys(_type(option) for option in part["anyOf"])
        return " or ".join(kind for kind in types if kind != "null")
    if "enum" in part:
        return " or ".join(f'"{value}"' for value in part["enum"])
    if "const" in part:
        return f'"{part["const"]}"'
    if part.get("type") == "array":
        return f"list of {_type(part.get('items', {}))}"
    return str(part.get("type", "anything"))
