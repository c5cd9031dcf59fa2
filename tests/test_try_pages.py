"""The commands of pages are read and run as a reader would type them."""

import re
from contextlib import closing

import pytest

try_pages = pytest.importorskip("scripts.try_pages", reason="needs the checkout")
pytestmark = pytest.mark.checkout
PAGE = """\
# A board

```bash
first   # a comment
one |
    two
```

## Camera

```toml
not = "a command"
```

```bash
last
```
"""


def test_commands_are_read_with_their_headings(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    found = [(item.section, item.command) for item in try_pages.read_commands(str(page))]
    assert found == [("A board", "first"), ("A board", "one |\n    two"), ("Camera", "last")]


def test_every_rule_is_for_a_command_of_a_page():
    pages = {page for trip in try_pages.TRIPS.values() for page in trip}
    commands = [item.command for page in pages for item in try_pages.read_commands(page)]
    rules = [rule.pattern for rule in (*try_pages.RULES, try_pages.SYSTEMD)]
    assert [rule for rule in rules if not any(re.search(rule, command) for command in commands)] == []


def test_a_shell_keeps_its_variables_and_tells_failures():
    with closing(try_pages.Shell(["bash"])) as shell:
        assert shell.run("export PLACE=here") == (0, [])
        assert shell.run("echo $PLACE; false") == (1, ["here"])


def test_the_record_holds_no_failure():
    _, outcomes = try_pages.read_record(try_pages.RESULTS / "pages.json")
    assert {item.system for item in outcomes} == {system.name for system in try_pages.SYSTEMS.values()}
    assert [item.command for item in outcomes if item.outcome == try_pages.FAILED] == []
