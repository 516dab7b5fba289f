"""The OpenAPI document of the admin API, made of the same descriptions as its routes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from shield.admin.operations import JSON, Operation
from shield.admin.problems import PROBLEM_TYPE
from shield.admin.schemas import TEXT, TEXTS, Schema, noted
from shield.rules.tokens import Role

_parameters = re.compile(r"\{(\w+)\}").findall

_PROBLEM: Schema = {
    "type": "object",
    "description": "Problem details (RFC 9457). `problems` are the reasons, a line each, with the remedy.",
    "properties": {
        "type": noted(TEXT, "about:blank: the status says which kind of problem it is"),
        "title": TEXT,
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": TEXT,
        "instance": TEXT,
        "problems": TEXTS,
    },
    "required": ["type", "title", "status", "detail", "instance", "problems"],
}

_INTRODUCTION = """\
The admin API of one Shield node. If `admin.tokens` is set, every call but those of health checks and of this page
takes a bearer token, with a role: `read` looks, `purge` also removes and fetches ahead, `operate` may do everything.
Refusals are problem details (RFC 9457). All calls concern the whole node, whatever the number of its workers."""


def document_of(operations: Iterable[Operation], *, version: str) -> dict[str, Any]:
    """An OpenAPI 3.1 document. `version` is the program's."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Shield admin API", "version": version, "description": _INTRODUCTION},
        "paths": paths,
        "components": {
            "schemas": {"Problem": _PROBLEM},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "A secret of admin.tokens"}
            },
        },
    }


def _described(operation: Operation) -> dict[str, Any]:
    words = [word.strip("{}") for word in operation.path.split("/") if word]
    said: dict[str, Any] = {
        "operationId": "_".join(
            [operation.method.lower(), *[re.sub(r"\W", "_", word) for word in words or ["page"]]]
        ),
        "tags": words[:1] or ["page"],
        "summary": operation.summary,
        **({"description": operation.description} if operation.description else {}),
        "parameters": [
            *[
                {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
                for name in _parameters(operation.path)
            ],
            *[
                {
                    "name": each.name,
                    "in": "query",
                    "required": each.required,
                    "description": each.summary,
                    "schema": each.schema,
                }
                for each in operation.query
            ],
        ],
        "responses": {
            "200": _answer("Done", operation.media, operation.answer),
            **{
                str(status): _answer(words, operation.media, schema)
                for status, (words, schema) in operation.answers.items()
            },
            **{str(status): _problem(words) for status, words in sorted(_refusals(operation).items())},
        },
    }
    if operation.body is not None:
        content = {kind: {"schema": operation.body if kind == JSON else {}} for kind in operation.kinds}
        said["requestBody"] = {"required": operation.body_needed, "content": content}
    if operation.role is not None:
        said["security"] = [{"token": [operation.role.word]}]
    return said


def _refusals(operation: Operation) -> Mapping[int, str]:
    """The statuses of all problems, and their meanings."""
    usual: dict[int, str] = {}
    if operation.role is not None:
        usual[401] = "No token, or an unknown one"
        if operation.role is not Role.READ:
            usual[403] = f"The token's role is less than {operation.role.word}"
        if operation.query:
            usual[400] = "A parameter that isn't one, or isn't as expected"
    if operation.changes or operation.body is not None:
        usual |= {
            400: "The body isn't as expected",
            408: "The body didn't arrive in time",
            413: "The body is too large",
            415: f"The body is no {' or '.join(operation.kinds)}",
        }
    return {**usual, **operation.refusals}


def _answer(words: str, media: str, schema: Schema) -> dict[str, Any]:
    return {"description": words, "content": {media: {"schema": schema}}}


def _problem(words: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": words, "content": {PROBLEM_TYPE: {"schema": schema}}}
