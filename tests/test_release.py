"""The release: one version, a changelog that a release can quote, and workflows that call what is there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = ROOT / ".github" / "workflows"
pytestmark = [pytest.mark.checkout, pytest.mark.skipif(not WORKFLOWS.is_dir(), reason="needs the checkout")]
NAMES = ("docs", "release", "test")


def workflow(name):
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load((WORKFLOWS / f"{name}.yml").read_text(encoding="utf-8"))


def steps(name):
    return [step for job in workflow(name)["jobs"].values() for step in job.get("steps", [])]


@pytest.fixture
def release(tmp_path):
    """A function that runs `scripts/release-notes TAG` on a changelog, beside version 1.2.3."""

    def run(tag, changelog, version="1.2.3"):
        for folder in ("scripts", "edge_sphereface"):
            (tmp_path / folder).mkdir(exist_ok=True)
        script = shutil.copy(ROOT / "scripts" / "release-notes", tmp_path / "scripts")
        (tmp_path / "edge_sphereface" / "_version.py").write_text(f'__version__ = "{version}"\n', encoding="utf-8")
        (tmp_path / "CHANGELOG.md").write_text(changelog, encoding="utf-8")
        done = subprocess.run([sys.executable, script, tag], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.mark.parametrize("heading", ["## 1.2.3 - 2026-11-26", "## [1.2.3] - 2026-11-26", "## 1.2.3, 2026-11-26"])
def test_the_notes_are_the_section_of_the_version(release, heading):
    """Neither the heading, nor other sections, nor link definitions belong to the notes of a release."""
    changelog = (
        f"# Changelog\n\n## Unreleased\n\n* X\n\n{heading}\n\n### Added\n\n* Y\n\n## 1.2.2 - 2026-01-01\n\n* Z\n"
    )
    assert release("v1.2.3", changelog) == (0, "### Added\n\n* Y\n")
    last = f"# Changelog\n\n{heading}\n\n* Y\n\n[1.2.3]: https://example.org\n"
    assert release("v1.2.3", last) == (0, "* Y\n")


@pytest.mark.parametrize(
    ("tag", "changelog", "version", "expected"),
    [
        ("v1.2.4", "## 1.2.3 - 2026-11-26\n\n* Y\n", "1.2.3", "must be v1.2.3"),
        ("1.2.3", "## 1.2.3 - 2026-11-26\n\n* Y\n", "1.2.3", "must be v1.2.3"),
        ("v1.2.3", "## 1.2.3, unreleased\n\n* Y\n", "1.2.3", "needs a section"),
        ("v1.2.3", "## 1.2.3 - 2026-11-26\n\n## 1.2.2 - 2026-01-01\n\n* Y\n", "1.2.3", "needs a section"),
        ("v1.2.3", "## 1x2.3 - 2026-11-26\n\n* Y\n", "1.2.3", "needs a section"),
        ("v1.2.3rc1", "## 1.2.3rc1 - 2026-11-26\n\n* Y\n", "1.2.3rc1", "version X.Y.Z"),
    ],
)
def test_a_release_that_is_not_described_does_not_start(release, tag, changelog, version, expected):
    """The tag, the version and the changelog must agree."""
    code, out = release(tag, changelog, version)
    assert code == 1
    assert expected in out


def test_the_version_is_written_in_one_place():
    """The build, the image and the release read `edge_sphereface/_version.py`."""
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    source = (ROOT / "edge_sphereface" / "_version.py").read_text(encoding="utf-8")
    version = re.search(r'^__version__ = "(.+)"$', source, re.MULTILINE)[1]
    generated = ":!edge_sphereface/web/openapi.json"
    names = ["pyproject.toml", "Makefile", "deploy", "scripts", ".github", "edge_sphereface", generated]
    git = ["git", "grep", "--files-with-matches", "--fixed-strings", version, "--", *names]
    found = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert found == ["edge_sphereface/_version.py"]


@pytest.mark.parametrize("name", NAMES)
def test_workflows_run_what_is_there(name):
    """Targets of the Makefile, and scripts that can be executed."""
    text = (WORKFLOWS / f"{name}.yml").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert set(re.findall(r"run: make ([\w-]+)", text)) <= set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    for script in re.findall(r"scripts/[\w-]+", text):
        assert os.access(ROOT / script, os.X_OK), script


@pytest.mark.parametrize("name", NAMES)
def test_workflows_have_little_power(name):
    """Each job names its permissions and its longest duration, and each action is one commit."""
    known = workflow(name)
    assert known["permissions"] == {}
    for job in known["jobs"].values():
        assert "permissions" in job
        assert "uses" in job or job["timeout-minutes"] <= 60
    for step in steps(name):
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step.get("uses", f"none@{'0' * 40}"))
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"] == {"persist-credentials": False}
    assert "secrets." not in (WORKFLOWS / f"{name}.yml").read_text(encoding="utf-8")


def test_what_is_published_is_what_was_tested():
    """A release builds no package, and every job that publishes waits for the tests."""
    jobs = workflow("release")["jobs"]
    assert jobs["test"]["uses"] == "./.github/workflows/test.yml"
    assert [step["run"] for step in steps("test") if step.get("run") == "make dist"] == ["make dist"]
    assert not any("make dist" in step.get("run", "") for step in steps("release"))
    for name in ("pypi", "image", "image-index", "github"):
        before, waiting = set(), [name]
        while waiting:
            needs = jobs[waiting.pop()].get("needs", [])
            waiting += [needs] if isinstance(needs, str) else needs
            before.update(waiting)
        assert {"notes", "test"} <= before, name


def test_only_pypi_may_ask_for_an_identity():
    """Trusted publishing needs an environment of its own and no other right."""
    jobs = workflow("release")["jobs"]
    assert jobs["pypi"]["environment"]["name"] == "pypi"
    assert jobs["pypi"]["permissions"] == {"id-token": "write"}
    assert [name for name, job in jobs.items() if "id-token" in job["permissions"]] == ["pypi"]


def test_the_image_is_tested_on_files_that_are_there():
    """`scripts/build-image` mounts a photograph and names a stage of the Dockerfile."""
    script = (ROOT / "scripts" / "build-image").read_text(encoding="utf-8")
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    assert (ROOT / re.search(r"\$PWD/(\S+?):", script)[1]).is_file()
    stage = re.search(r"--build-context (\w+)=", script)[1]
    assert f"\nFROM scratch AS {stage}\n" in dockerfile


@pytest.mark.parametrize(
    "words", [["actionlint"], ["zizmor", "--offline", "--quiet", ".github"]], ids=lambda words: words[0]
)
def test_linters_of_workflows_find_nothing(words):
    """`make check-workflows` installs them; here they run if they are on this machine."""
    if shutil.which(words[0]) is None:
        pytest.skip(f"needs {words[0]}")
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
