"""Shells complete what the parsers know."""

import shutil
import subprocess

import pytest

from edge_sphereface.cli.__main__ import build_parser, main
from edge_sphereface.cli.completion import completion_script


@pytest.fixture
def completed(tmp_path):
    """What bash offers after some words; the last one is being written."""
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    script = tmp_path / "completion.bash"
    script.write_text(completion_script("bash", build_parser()))

    def complete(*words):
        line = " ".join(f'"{word}"' for word in words)
        commands = f"""
source {script}
COMP_WORDS=(edge-sphereface {line}); COMP_CWORD={len(words)}
_edge_sphereface
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
        done = subprocess.run(["bash", "-c", commands], capture_output=True, text=True, check=True)
        return done.stdout.split()

    return complete


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("ver",), ["verify", "verify-model"]),
        (("gallery", "re"), ["remove", "rebuild", "report"]),
        (("gallery", "list", "--gal"), ["--gallery"]),
        (("detect", "photo.jpg", "--detector-m"), ["--detector-model"]),
        (("detect", "qq"), []),
    ],
)
def test_bash_completes_commands_and_options(completed, words, offered):
    assert sorted(completed(*words)) == sorted(offered)


def test_every_command_can_be_completed():
    """In the scripts of all shells, with its options."""
    for shell in ("bash", "zsh", "fish"):
        script = completion_script(shell, build_parser())
        for word in ("watch", "calibrate-threshold", "new-key", "detector-model"):
            assert word in script, (shell, word)


def test_completion_is_a_command(capsys):
    assert main(["completion", "bash"]) == 0
    assert capsys.readouterr().out.rstrip("\n") == completion_script("bash", build_parser()).rstrip("\n")


@pytest.mark.parametrize("words", [[], ["detect"], ["gallery", "list"]])
def test_help_is_a_command(words, capsys):
    with pytest.raises(SystemExit) as done:
        main(["help", *words])
    assert done.value.code == 0
    assert capsys.readouterr().out.startswith(" ".join(["usage: edge-sphereface", *words]))
