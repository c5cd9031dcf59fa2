"""Every measured figure of the README and of docs/ is the value of a record, and no figure is without one."""

import json
import re
import sys
from functools import partial

import pytest

from benchmarks import figures

TOML = "tomllib" if sys.version_info >= (3, 11) else "tomli"
TEXTS = figures.pages()
MADE_UP = {
    "It takes 12.3 ms.": ["12.3"],
    "It takes 4 to 5 ms and 300 MiB.": ["4", "5", "300"],
    "It is right in 97 % of the frames.": ["97"],
    "It needs 1/37 of the embeddings.": ["1/37"],
    "The error is 2.3e-6.": ["2.3e-6"],
    "It was driven with 1,234 faces.": ["1,234"],
    "It takes 0.30 times as long.": ["0.30"],
    "The difference is +0.07 to +0.48 points.": ["+0.07", "+0.48"],
    "| tuned | 42 |": ["42"],
}


@pytest.fixture(scope="module")
def ledger():
    pytest.importorskip(TOML)
    return figures.read_ledger()


def test_pages_show_what_was_recorded(ledger):
    assert figures.differences(ledger, TEXTS) == []


def test_every_figure_has_a_record(ledger):
    assert figures.uncovered(ledger, TEXTS) == [], "docs/figures.toml wants a claim, or for a setting an exception"


@pytest.mark.parametrize("sentence", MADE_UP)
@pytest.mark.parametrize("page", ["README.md", "docs/watch.md"])
def test_a_made_up_figure_is_found(ledger, page, sentence):
    texts = {**TEXTS, page: f"{TEXTS[page]}\n{sentence}\n"}
    found = figures.uncovered(ledger, texts)
    assert [re.search("no record of '(.*?)'", line)[1] for line in found] == MADE_UP[sentence]
    assert all(line.startswith(f"{page}:") for line in found)


def test_names_code_and_addresses_are_no_figures():
    text = "INT8 on a Cortex-A72 (x86-64, SHA-256), [a page](a/1.5/b.md), `--far 0.001`, 2 threads\n```\n12.3 ms\n```\n"
    assert list(figures.figures(text)) == []


def test_a_figure_that_the_record_does_not_hold_is_told(ledger):
    claim = next(claim for claim in ledger.claims if claim.page == "README.md")
    ((start, end), *_) = figures.find(claim, TEXTS["README.md"]).spans
    changed = TEXTS["README.md"][:start] + "1" + TEXTS["README.md"][start:]
    (told,) = figures.differences(ledger, {**TEXTS, "README.md": changed})
    assert claim.record in told
    assert figures.rewritten(ledger, "README.md", changed) == TEXTS["README.md"]
    gone = TEXTS["README.md"][:start] + TEXTS["README.md"][end:]
    assert "found 0 times" in figures.differences(ledger, {**TEXTS, "README.md": gone})[0]


def test_exceptions_have_a_reason_and_are_on_the_page(ledger):
    content = pytest.importorskip(TOML).loads(figures.LEDGER.read_text("utf-8"))
    assert all(entry["why"] for entry in (*content["unmeasured"], *content["pattern"]))
    texts = {**TEXTS, "docs/jetson.md": "nothing"}
    assert any("is not on the page" in line for line in _uncovered(ledger, texts))


def _uncovered(ledger, texts):
    others = [claim for claim in ledger.claims if claim.page != "docs/jetson.md"]
    return figures.uncovered(figures.Ledger(claims=others, unmeasured=ledger.unmeasured, patterns=[]), texts)


def test_tables_with_the_same_rows_are_told_apart_by_what_is_above():
    page = "one:\n\n| a | 1.0 |\n\nother:\n\n| a | 2.0 |\n| b | 3.0 |\n\n| a | 4.0 |\n"
    claim = partial(figures.Claim, page="x", record="y", text="| a | {ms} |", values={"ms": "ms"})
    assert [match[1] for match in claim(below="one:").matches(page)] == ["1.0"]
    assert [match[1] for match in claim(below="other:").matches(page)] == ["2.0"]
    assert len(claim().matches(page)) == 3
    assert claim(below="none:").matches(page) == []


def test_values_of_a_record():
    record = {"rows": [{"name": "a", "threads": 1, "ms": 4.0}, {"name": "a", "threads": 2, "ms": 3.0}], "n": 7}
    assert figures.value(record, "n") == 7
    assert figures.value(record, "rows/1/ms") == 3.0
    assert figures.value(record, "rows/name=a&threads=2/ms") == 3.0
    assert figures.value(record, ["rows/0/ms", "/", "rows/1/ms", "*", 100]) == pytest.approx(400 / 3)
    assert figures.value(record, ["max", "rows/*/ms"]) == 4.0
    for wrong in ("rows/name=a/ms", "rows/name=b/ms", "rows/0/name", "rows", "none", ["min", "rows/*/none"]):
        with pytest.raises(figures.FigureError):
            figures.value(record, wrong)


@pytest.mark.parametrize("path", sorted(figures.RESULTS.rglob("*.json")), ids=lambda path: path.name)
def test_every_record_says_where_it_comes_from(path):
    where = json.loads(path.read_text("utf-8"))["environment"]
    assert {"time", "cpu", "processor", "cpu_flags", "usable_cpus", "memory_mib", "versions"} <= where.keys()
    assert {"python", "numpy", "onnxruntime", "opencv-python-headless"} <= where["versions"].keys()
    assert where["time"] < "2026-11-26" or {"generation", "load"} <= where.keys()
