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


def test_the_document_is_served(interface):
    assert interface().ask("openapi.json").body == json.loads(FILES[1].read_text(encoding="utf-8"))
