"""The schemas in ``docs/schema``, and the page about them."""

import re
from pathlib import Path

import jsonschema
import pytest

import edge_sphereface.errors
import export.errors
from benchmarks.ascend.imported import ImportedError
from benchmarks.emulation.debian import EmulationError
from edge_sphereface.cli.runner import UsageError
from scripts.json_schemas import FOLDER, OPENAPI, RECORDS, schema_of, schema_path, text_of

NAMES = [name for name, _ in RECORDS]


@pytest.mark.slow
@pytest.mark.checkout
@pytest.mark.parametrize("name", NAMES)
def test_schemas_are_up_to_date(name):
    """If not: ``make schemas``."""
    assert schema_path(name).read_text(encoding="utf-8") == text_of(name)


@pytest.mark.checkout
def test_there_is_no_other_schema():
    assert {path.name for path in FOLDER.iterdir()} == {OPENAPI.name} | {schema_path(name).name for name in NAMES}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_schemas_are_valid_and_describe_every_field(name):
    schema = schema_of(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    for part in (schema, *schema.get("$defs", {}).values()):
        for field, value in part.get("properties", {}).items():
            assert value["description"], f"{part['title']}.{field}"


PAGE = (Path(__file__).parents[1] / "docs" / "json.md").read_text(encoding="utf-8")


def test_every_error_code_is_listed():
    kinds = [*vars(edge_sphereface.errors).values(), *vars(export.errors).values()]
    kinds += [UsageError, ImportedError, EmulationError]
    codes = {kind.code for kind in kinds if isinstance(kind, type) and hasattr(kind, "code")} - {"error", "model"}
    assert codes <= set(re.findall(r"`([a-z-]+)`", PAGE.split("`code` is stable:")[1]))


@pytest.mark.parametrize("name", NAMES)
def test_the_page_links_every_schema(name):
    assert f"(schema/{schema_path(name).name})" in PAGE
