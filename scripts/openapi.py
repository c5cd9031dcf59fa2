"""Writes the OpenAPI document of the HTTP interface, from its operations and the dataclasses of its messages.

``python -m scripts.openapi`` writes ``docs/schema/openapi.json`` and the copy that the program serves; a test fails
where one is not up to date.
"""

from __future__ import annotations

import json
import re
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_sphereface._version import __version__
from edge_sphereface.web.messages import ProblemAnswer
from edge_sphereface.web.operations import OPERATIONS
from scripts.json_schemas import OPENAPI, definitions_of

if TYPE_CHECKING:
    from edge_sphereface.web.operations import Operation, Parameter

FILES = (OPENAPI, Path(__file__).resolve().parents[1] / "edge_sphereface" / "web" / "openapi.json")
_RAW = {"type": "string", "contentMediaType": "application/octet-stream"}
_PICTURE_TYPES = ("image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff", "image/gif")
_PROBLEMS = {
    "400": "The request is not valid.",
    "401": "There is no token, or it is nobody's.",
    "403": "The token lacks the scope, or the request comes from a page of another origin.",
    "404": "There is nothing of that name.",
    "405": "The path takes other methods; `Allow` names them.",
    "409": "The program is not in a state to do it.",
    "413": "The request has too many bytes.",
    "415": "The content type is not accepted.",
    "422": "A picture cannot be used: it cannot be decoded, or shows no face or several.",
    "429": "There is more work than this machine can do, or the token's rate is exceeded; `Retry-After` says when to "
    "try again.",
    "503": "The request was not done in time, or a disk, file or other process prevents it.",
}
_HEADERS = {
    "405": ("Allow", "The methods, separated by commas.", "string"),
    "429": ("Retry-After", "Seconds after which to try again.", "integer"),
}


def document() -> dict[str, Any]:
    """The OpenAPI document."""
    records = [ProblemAnswer]
    for operation in OPERATIONS:
        records += [part for part in (operation.body, operation.answer) if isinstance(part, type)]
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    responses = {status: _problem(status, words) for status, words in _PROBLEMS.items()}
    schemas = definitions_of(reduce(or_, dict.fromkeys(records)), "#/components/schemas/{model}")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "edge-sphereface",
            "version": __version__,
            "summary": "Face recognition of pictures and cameras on this machine",
            "description": "Every request needs a token (`Authorization: Bearer TOKEN`) with the scope that the "
            "operation names; the scope `admin` includes all. Where the program has no tokens, it answers requests "
            "of its own machine only.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/api"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": responses,
            "schemas": _referred_to(schemas, paths, responses),
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    scope = "any token" if operation.scope is None else f"scope `{operation.scope}`"
    found: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": f"Needs {scope}.",
        "responses": {
            "200": {"description": "Done.", "content": _answer(operation)},
            **{status: {"$ref": f"#/components/responses/{status}"} for status in _PROBLEMS},
        },
    }
    if operation.parameters:
        found["parameters"] = [_parameter(parameter) for parameter in operation.parameters]
    if operation.answer == "events":
        found.setdefault("parameters", []).append(
            {
                "name": "Last-Event-ID",
                "in": "header",
                "description": "identifier of the last event that the client has",
                "schema": {"type": "string"},
            }
        )
    body = _body(operation)
    if body is not None:
        found["requestBody"] = {"required": True, "content": body}
    return found


def _answer(operation: Operation) -> dict[str, Any]:
    if operation.answer == "jpeg":
        return {"image/jpeg": {}}
    if operation.answer == "events":
        return {"text/event-stream": {"schema": {"type": "string"}}}
    if operation.answer == "openapi":
        return {"application/json": {"schema": {"type": "object"}}}
    return {"application/json": {"schema": _reference(operation.answer)}}


def _body(operation: Operation) -> dict[str, Any] | None:
    body = operation.body
    if body is None:
        return None
    if body == "camera":
        return {"application/json": {"schema": {"type": "object", "properties": {"name": {"type": "string"}}}}}
    if isinstance(body, type):
        return {"application/json": {"schema": _reference(body)}}
    if body == "pair":
        form = {"type": "object", "properties": {"first": _RAW, "second": _RAW}, "required": ["first", "second"]}
        return {"multipart/form-data": {"schema": form}}
    several = {"type": "array", "items": _RAW, "minItems": 1, "maxItems": 1 if body == "picture" else 16}
    form = {"type": "object", "properties": {"picture": several}, "required": ["picture"]}
    return {"multipart/form-data": {"schema": form}, **{kind: {} for kind in _PICTURE_TYPES}}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": parameter.kind}
    if parameter.least is not None:
        schema["minimum"] = parameter.least
    if parameter.most is not None:
        schema["maximum"] = parameter.most
    if parameter.choices:
        schema["enum"] = list(parameter.choices)
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.required,
        "description": parameter.description,
        "schema": schema,
    }


def _problem(status: str, words: str) -> dict[str, Any]:
    found = {"description": words, "content": {"application/json": {"schema": _reference(ProblemAnswer)}}}
    if status in _HEADERS:
        name, meaning, kind = _HEADERS[status]
        found["headers"] = {name: {"description": meaning, "schema": {"type": kind}}}
    return found


def _referred_to(schemas: dict[str, Any], *begin: Any) -> dict[str, Any]:
    """Those of the schemas that something refers to; a record whose fields stand in another one is left out."""
    found: set[str] = set()
    new = _references(begin)
    while new:
        found |= new
        new = _references([schemas[name] for name in new]) - found
    return {name: schema for name, schema in schemas.items() if name in found}


def _references(part: Any) -> set[str]:
    return set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(part)))


def _reference(record: Any) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{record.__name__}"}


def texts() -> dict[Path, str]:
    """The content of each file: indented for readers, and without white space in the package."""
    shown, served = FILES
    made = document()
    return {
        shown: json.dumps(made, indent=2, ensure_ascii=False) + "\n",
        served: json.dumps(made, separators=(",", ":"), ensure_ascii=False) + "\n",
    }


def main() -> None:
    """Write the files."""
    for path, text in texts().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
