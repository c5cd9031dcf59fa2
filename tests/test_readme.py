"""The README and the pages of docs/ are true: the example runs as written, commands parse, links and targets exist."""

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.__main__ import build_parser as benchmarks_parser
from edge_sphereface.cli.__main__ import build_parser
from export.commands import build_parser as export_parser

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLE = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
PARSERS = {
    "edge-sphereface": cache(build_parser),
    "python -m export": cache(export_parser),
    "python -m benchmarks": cache(benchmarks_parser),
}
SCRIPTS = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
PAGES = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))]

SETTINGS = {
    f"{file}.toml": re.search(
        r"```toml\n(.*?)```", (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8"), re.DOTALL
    )[1]
    for file, page in (("watch", "watch"), ("house", "cameras"))
}


def commands(page):
    """Command lines of code blocks, and those between backticks that have arguments."""
    lines = [line for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
    inline = re.findall(r"`([^`\n]+)`", page)
    for program in PARSERS:
        yield from (line.split("  #")[0].strip() for line in lines if line.startswith(program))
        yield from (text for text in inline if text.startswith(program) and len(text[len(program) :].split()) > 1)


COMMANDS = sorted({command for page in (README, *PAGES) for command in commands(page)})


def test_the_example_has_ten_lines():
    assert len(EXAMPLE.splitlines()) == 10


def test_the_example_runs_as_written(tmp_path, small_model, astronaut):
    (tmp_path / "sphereface20.onnx").write_bytes(small_model.read_bytes())
    tile = astronaut[20:220, 120:320]
    for name, image in {"a.jpg": astronaut, "b.jpg": astronaut[:, ::-1], "group.jpg": np.tile(tile, (1, 3, 1))}.items():
        cv2.imwrite(str(tmp_path / name), image)
    done = subprocess.run([sys.executable, "-c", EXAMPLE], cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0].startswith(("True ", "False "))
    assert sum("(32,)" in line for line in lines) == 3
    assert "CPUExecutionProvider" in lines[-1]


def test_the_example_of_galleries_runs_as_written(tmp_path, small_model, astronaut):
    page = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    (tmp_path / "sphereface20.onnx").write_bytes(small_model.read_bytes())
    for name in ("a.jpg", "group.jpg"):
        cv2.imwrite(str(tmp_path / name), astronaut)
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL)[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "Ann Lee identified [('Ann Lee', 1.0)]\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_parse(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file, text in SETTINGS.items():
        Path(file).write_text(text)
        Path(file).chmod(0o600)
    program = next(name for name in PARSERS if command.startswith(name))
    assert PARSERS[program]().parse_args(shlex.split(command.removeprefix(program))).run


def test_there_are_commands_to_test():
    assert len(COMMANDS) > 10


def anchors(page):
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere():
    """The build of the site checks the anchors of the API reference, which are made from the code."""
    for page in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "CHANGELOG.md",
        *sorted((ROOT / "docs").glob("*.md")),
    ):
        for target, anchor in re.findall(r"\]\((?!https://)([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8")):
            file = page.parent / target if target else page
            assert file.exists(), f"{page.name}: {target}"
            assert not anchor or file.parent.name == "api" or anchor in anchors(file), f"{page.name}: {target}#{anchor}"


def test_make_targets_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"make ([\w-]+)", "\n".join([*SCRIPTS, *re.findall(r"`([^`\n]+)`", README)])))
    assert {"demo", "demo-official", "test", "test-quick", "check"} <= named - {"python3-venv"} <= targets


@pytest.mark.checkout
def test_folders_of_the_table_exist():
    for folder in re.findall(r"^\| `([\w/]+)/` \|", README, re.MULTILINE):
        assert (ROOT / folder).is_dir()


def test_figures_of_others_are_marked_as_published():
    for line in README.splitlines():
        if "98.48 %" in line or "99.13" in line:
            assert "published" in line or "reports" in line
