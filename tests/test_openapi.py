"""The OpenAPI document: complete, and true to its own schemas. What is answered is compared in `test_strangers`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from starlette.testclient import TestClient

from index.access import Access
from service.library import Library
from service.web.app import create_app
from service.web.doors import Doors
from service.web.settings import Settings

PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with Library.open(tmp_path_factory.mktemp("openapi") / "home") as library:
        doors = Doors(library=library, access=Access(library.home.ledger), settings=Settings())
        yield TestClient(create_app(doors), base_url="http://127.0.0.1").get("/openapi.json").json()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def fits(document: dict[str, Any], schema: dict[str, Any], value: Any) -> bool:
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", "components": document["components"]}
    return jsonschema_rs.validator_for(whole | schema).is_valid(value)


def examples(part: dict[str, Any]) -> list[Any]:
    """Of a parameter or a body: its own, and those of its schema."""
    schema = part.get("schema", {})
    own = [part["example"]] if "example" in part else []
    within = [one for option in (schema, *schema.get("anyOf", [])) for one in option.get("examples", [])]
    return own + within


def bodies(operation: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(where, media type, what is said of it) of what comes in and goes out."""
    for kind, body in operation.get("requestBody", {}).get("content", {}).items():
        yield "request", kind, body
    for status, answer in operation["responses"].items():
        for kind, body in answer.get("content", {}).items():
            yield status, kind, body


def test_every_operation_has_an_example_and_every_example_fits_its_schema(document: dict[str, Any]) -> None:
    shown = 0
    for name, operation in operations(document):
        for parameter in operation.get("parameters", []):
            found = examples(parameter)
            assert found or not parameter["required"], f"{name}: {parameter['name']} has no example"
            for value in found:
                assert fits(document, parameter["schema"], value), f"{name}: {parameter['name']}: {value}"
            shown += len(found)
        for where, kind, body in bodies(operation):
            found = examples(body)
            assert found or kind.startswith(("image/", "video/")), f"{name}: {where} as {kind} has no example"
            for value in found:
                assert fits(document, body["schema"], value), f"{name}: {where} as {kind}: {value}"
            shown += len(found)
        for status, answer in operation["responses"].items():
            for header, said in answer.get("headers", {}).items():
                for value in examples(said):
                    assert fits(document, said["schema"], value), f"{name}: {status}: {header}: {value}"
    assert shown > 200


def test_every_no_is_a_problem_and_says_so(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for status, answer in operation["responses"].items():
            assert answer["description"], f"{name}: {status}"
            if status >= "400" and (name, status) != ("GET /readyz", "503"):  # which says what is not there
                assert list(answer["content"]) == [PROBLEM], f"{name}: {status}"
                assert answer["content"][PROBLEM]["schema"] == {"$ref": "#/components/schemas/ProblemBody"}
                assert answer["content"][PROBLEM]["example"]["status"] == int(status)
            if status in ("429", "503") and name != "GET /readyz":
                assert "Retry-After" in answer["headers"], f"{name}: {status}"


@pytest.mark.parametrize(
    ("operation", "statuses"),
    [
        ("POST /v1/uploads", "202 400 401 403 409 413 415 421 422 429 500 503 507"),
        ("GET /v1/videos/{video_id}/original", "200 206 400 401 403 404 413 415 416 421 422 429 500 503"),
        ("DELETE /v1/videos/{video_id}", "204 400 401 403 404 413 421 422 429 500 503 507"),
        ("GET /v1/videos/{video_id}/similar", "200 400 401 403 404 409 413 421 422 429 500 503"),
        ("POST /v1/session", "204 400 401 403 413 421 422 429 500 503 507"),
        ("GET /healthz", "200 400 413 421 500 503"),
    ],
)
def test_what_an_operation_may_answer(document: dict[str, Any], operation: str, statuses: str) -> None:
    assert " ".join(dict(operations(document))[operation]["responses"]) == statuses


def test_who_may_is_told_with_the_scopes(document: dict[str, Any]) -> None:
    schemes = document["components"]["securitySchemes"]
    assert (schemes["HTTPBearer"]["scheme"], schemes["session"]["in"]) == ("bearer", "cookie")
    free = {name for name, operation in operations(document) if "security" not in operation}
    session = {f"{method} /v1/session" for method in ("GET", "POST", "DELETE")}
    assert free == {"GET /healthz", "GET /readyz", *session}
    assert dict(operations(document))["PATCH /v1/videos/{video_id}"]["security"] == [
        {"HTTPBearer": ["videos"]},
        {"session": ["videos"]},
    ]


def test_an_upload_links_to_what_becomes_of_it(document: dict[str, Any]) -> None:
    found = dict(operations(document))
    named = {operation.get("operationId") for operation in found.values()}
    links = found["POST /v1/uploads"]["responses"]["202"]["links"]
    assert {link["operationId"] for link in links.values()} <= named
    assert set(found["POST /v1/uploads"]["requestBody"]["content"]) == {"multipart/form-data", "application/json"}
