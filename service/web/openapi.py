"""The app's OpenAPI document: what FastAPI finds out by itself, and what it cannot know.

Who may pass is decided before a route sees a request (`guard`), so what the guard answers is written down here, once,
for every route; what only some routes answer stands beside those (`problems(404, 409)`).
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from service.web.bodies import ProblemBody
from service.web.guard import COOKIE
from service.web.problems import problems

ANY = (400, 413, 421, 500, 503)
"""What every route may be answered."""
KEYED = (401, 403, 429)
_SESSION = {
    "type": "apiKey",
    "in": "cookie",
    "name": COOKIE,
    "description": "What `POST /v1/session` sets. To change something it also wants `Sec-Fetch-Site: same-origin`.",
}


class App(FastAPI):
    """Describes itself in full."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = _completed(super().openapi())
        return self.openapi_schema


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    parts = document["components"]
    parts["schemas"]["ProblemBody"] = ProblemBody.model_json_schema()
    parts["securitySchemes"]["session"] = _SESSION
    for operations in document["paths"].values():
        for method, operation in operations.items():
            if security := operation.get("security"):
                operation["security"] = [*security, {"session": next(iter(security[0].values()))}]
            answers = operation["responses"]
            if "parameters" not in operation and "requestBody" not in operation:
                answers.pop("422", None)  # nothing comes that might not be what is wanted
            answers |= {str(status): said for status, said in _always(method, operation).items()} | answers
            operation["responses"] = dict(sorted(answers.items()))
            for part in (operation.get("requestBody", {}), *answers.values()):
                _show_examples(part.get("content", {}), parts["schemas"])
    return document


def _always(method: str, operation: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    statuses = [*ANY]
    if "security" in operation:
        statuses += KEYED
    if method != "get":
        statuses.append(507)
    return problems(*statuses)


def _show_examples(content: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Put the first example of a model where tools look for it."""
    for kind in content.values():
        name = kind.get("schema", {}).get("$ref", "").rpartition("/")[2]
        examples = schemas.get(name, {}).get("examples", [])
        if examples and "example" not in kind:
            kind["example"] = examples[0]
