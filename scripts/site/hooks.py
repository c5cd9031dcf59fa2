"""MkDocs hooks: pages from outside ``docs/``, references made from the code, no assets of other servers.

The pages of ``docs/`` link to files of the repository by relative paths, so that they work in a checkout too. Each
linked file becomes part of the site, and the links are rewritten to lead there. MkDocs then checks them all.
"""

from __future__ import annotations

import os
import re
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import command_reference
import json_reference
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
_PROJECT_PAGES = ("CHANGELOG.md", "CONTRIBUTING.md")
_FOREIGN_ASSET = re.compile(r"""<(?:script|img|iframe|video|link)\b[^>]*?\b(?:src|href)=["']?(?:https?:)?//[^>]*>""")
_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the references made from the code, and every file outside ``docs/`` that a page links to."""
    for program in command_reference.PROGRAMS:
        page = f"commands/{program.page}.md"
        files.append(File.generated(config, page, content=command_reference.render(program)))
    files.append(File.generated(config, "commands/json.md", content=json_reference.render(DOCS / "schema")))
    pages = deque(Path(file.abs_src_path) for file in files.documentation_pages() if file.abs_src_path)
    pages += [ROOT / name for name in _PROJECT_PAGES]
    for name in _PROJECT_PAGES:
        files.append(_file(ROOT / name, config))
    while pages:
        for target in _targets(pages.popleft()):
            if files.get_file_from_path(_site_path(target)) is None and target.is_file():
                files.append(_file(target, config))
                if target.suffix == ".md":
                    pages.append(target)
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite links between repository paths to links between pages of the site."""
    del config, files
    if page.file.abs_src_path is None:
        return markdown
    source = Path(page.file.abs_src_path)
    folder = os.path.dirname(page.file.src_uri) or "."  # noqa: PTH120 -- a path of the site

    def rewritten(link: re.Match[str]) -> str:
        return os.path.relpath(_site_path(_resolve(source, link[1])), folder)

    return _LINK.sub(rewritten, markdown)


def on_post_page(output: str, *, page: Page, config: MkDocsConfig) -> str:
    """Refuse a page that loads anything from another server.

    Raises:
        PluginError: it does.
    """
    del config
    if found := _FOREIGN_ASSET.search(output):
        raise PluginError(f"{page.file.src_uri} loads from another server: {found[0]}")
    return output


def _file(path: Path, config: MkDocsConfig) -> File:
    return File.generated(config, _site_path(path), abs_src_path=str(path))


def _targets(page: Path) -> Iterator[Path]:
    """Files of the repository that a page links to."""
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        target = _resolve(page, link)
        if target.is_relative_to(ROOT):
            yield target


def _resolve(page: Path, link: str) -> Path:
    return Path(os.path.normpath(page.parent / link))


def _site_path(path: Path) -> str:
    """Where a file of the repository lies in the site: ``docs/`` is its root."""
    base = DOCS if path.is_relative_to(DOCS) else ROOT
    return os.path.relpath(path, base)
