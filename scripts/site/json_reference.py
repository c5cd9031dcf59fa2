"""The reference of JSON output: a Markdown page of tables, written from the JSON Schemas in ``docs/schema``."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_INTRODUCTION = """# JSON fields

Fields of the JSON objects that commands print with `--json`, from the [JSON Schemas](../json.md#fields) that the
tests validate real output against. A field that is not *optional* is always present.
"""


def render(folder: Path) -> str:
    """The page of every schema in a folder.

    Raises:
        ValueError: two schemas define a record of the same name differently.
    """
    schemas = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
    records: dict[str, dict[str, Any]] = {}
    users: Counter[str] = Counter()
    for schema in schemas.values():
        for name, record in schema.get("$defs", {}).items():
            if records.setdefault(name, record) != record:
                raise ValueError(f"Expected one definition of {name} in the schemas of {folder}, got two.")
            users[name] += 1
    lines = [_INTRODUCTION]
    for name, schema in schemas.items():
        lines += [f"## {name}", "", *_fields(schema), f"[Schema](../schema/{name}.json)", ""]
        for part in schema.get("$defs", {}):
            if users[part] == 1:
                lines += _record(part, records[part])
    lines += ["## Shared records", "", "These records are part of several objects.", ""]
    for name in sorted(name for name, count in users.items() if count > 1):
        lines += _record(name, records[name])
    return "\n".join(lines)


def _record(name: str, schema: dict[str, Any]) -> Iterator[str]:
    yield from (f"### {name} {{ #{name.lower()} }}", "", *_fields(schema))


def _fields(schema: dict[str, Any]) -> Iterator[str]:
    """Description and table of the fields of an object; the type alone for anything else."""
    if description := schema.get("description"):
        yield from (description, "")
    if "properties" not in schema:
        yield from (_type(schema), "")
        return
    yield from ("| field | type | meaning |", "|---|---|---|")
    for name, field in schema["properties"].items():
        optional = "" if name in schema.get("required", ()) else ", optional"
        yield f"| `{name}` | {_type(field)}{optional} | {_cell(field.get('description', ''))} |"
    yield ""


def _type(schema: dict[str, Any]) -> str:  # noqa: PLR0911 -- one for each form of a schema
    """The type of a value, in words."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return " or ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(map(_type, choices)))
    if schema.get("type") == "array":
        if items := schema.get("prefixItems"):
            kinds = list(map(_type, items))
            return f"{len(kinds)} \u00d7 {kinds[0]}" if len(set(kinds)) == 1 else f"[{', '.join(kinds)}]"
        return f"list of {_type(schema['items'])}" if "items" in schema else "list"
    if schema.get("type") == "object" and isinstance(values := schema.get("additionalProperties"), dict):
        return f"object of {_type(values)}"
    return str(schema.get("type", "any"))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")
