"""Griffe extension for the API reference.

reStructuredText in docstrings becomes Markdown: ``:class:`Embedder``` a link to the class, ``.. code-block:: text`` a
fenced block. Our docstrings use no other reStructuredText. The default of a field of settings, written as
``setting(0.05, help=...)`` or ``nested(TrackingSettings)``, is shown as the value that it has.
"""

from __future__ import annotations

import re
import textwrap
from typing import Any

import griffe

_ROLE = re.compile(r":(?:attr|class|func|meth|mod):`~?([\w.]+)`")
_CODE_BLOCK = re.compile(r"^\.\. code-block:: (\w+)\n\n((?: +.*\n|\n)+)", re.MULTILINE)


class ApiReference(griffe.Extension):
    """Rewrites docstrings and defaults when they are loaded."""

    def on_attribute_instance(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """Show the default of a field of settings."""
        match attr.value:
            case griffe.ExprCall(function=griffe.ExprName(name="setting"), arguments=[default, *_]):
                attr.value = default
            case griffe.ExprCall(function=griffe.ExprName(name="nested"), arguments=[kind, *_]):
                attr.value = griffe.ExprCall(function=kind, arguments=[])

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of an object."""
        if obj.docstring is not None:
            obj.docstring.value = _with_links(_with_fences(obj.docstring.value + "\n"), obj).rstrip("\n")


def _with_fences(text: str) -> str:
    return _CODE_BLOCK.sub(lambda block: f"```{block[1]}\n{textwrap.dedent(block[2]).strip()}\n```\n\n", text)


def _with_links(text: str, obj: griffe.Object) -> str:
    def link(role: re.Match[str]) -> str:
        shown = role[1].rsplit(".", 1)[-1] if "~" in role[0] else role[1]
        return f'<autoref identifier="{_path(role[1], obj)}" optional><code>{shown}</code></autoref>'

    return _ROLE.sub(link, text)


def _path(name: str, obj: griffe.Object) -> str:
    """Dotted path of a name as it is seen from an object; the name itself where it cannot be resolved."""
    first, *rest = name.split(".")
    try:
        return ".".join([obj.resolve(first), *rest])
    except griffe.NameResolutionError:
        return name
