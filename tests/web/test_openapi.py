"""The OpenAPI document: valid, up to date, and served."""

import json

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from edge_sphereface.web.operations import OPERATIONS
from scripts.openapi import FILES, document, texts


@pytest.mark.checkout
def test_the_document_is_up_to_date():
    """If not: ``python -m scripts.openapi``."""
    for path, text in texts().items():
        assert path.read_text(encoding="utf-8") == text


def test_the_document_is_valid_and_has_every_operation():
    made = document()
    OpenAPIV31SpecValidator(made).validate()
    found = {about["operationId"] for methods in made["paths"].values() for about in methods.values()}
    assert found == {operation.name for operation in OPERATIONS}


def test_every_schema_is_referred_to():
    made = document()
    text = json.dumps(made)
    assert [name for name in made["components"]["schemas"] if f'"#/components/schemas/{name}"' not in text] == []


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_a_method_that_a_path_lacks_is_answered_with_those_that_it_has(interface, method):
    client = interface()
    made = document()
    assert made["components"]["responses"]["405"]["headers"].keys() == {"Allow"}
    for path, methods in made["paths"].items():
        allowed = {one.upper() for one in methods} | ({"HEAD"} if "get" in methods else set())
        assert all("405" in about["responses"] for about in methods.values())
        if method not in allowed:
            answer = client.ask(path[1:].replace("{stranger}", "x"), {} if method == "POST" else None, method=method)
            assert (answer.status, answer.headers["Allow"]) == (405, ", ".join(sorted(allowed))), path


def test_the_document_is_served(interface):
    assert interface().ask("openapi.json").body == json.loads(FILES[1].read_text(encoding="utf-8"))
