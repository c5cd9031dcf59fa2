"""The schemas in ``docs/schema``."""

import jsonschema
import pytest

from scripts.json_schemas import FOLDER, RECORDS, schema_of, schema_path, text_of

NAMES = [name for name, _ in RECORDS]


@pytest.mark.checkout
@pytest.mark.parametrize("name", NAMES)
def test_schemas_are_up_to_date(name):
    """If not: ``make schemas``."""
    assert schema_path(name).read_text(encoding="utf-8") == text_of(name)


@pytest.mark.checkout
def test_there_is_no_other_schema():
    assert {path.name for path in FOLDER.iterdir()} == {schema_path(name).name for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_schemas_are_valid_and_describe_every_field(name):
    schema = schema_of(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    for part in (schema, *schema.get("$defs", {}).values()):
        for field, value in part.get("properties", {}).items():
            assert value["description"], f"{part['title']}.{field}"
