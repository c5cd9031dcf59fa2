"""A command for each event: what it gets, how many run, and how they end."""

import json
import os
import sys
from pathlib import Path

import pytest

from edge_sphereface.errors import SinkError
from edge_sphereface.stream.outputs.events.command_hook import CommandHook, parse_command
from edge_sphereface.stream.outputs.events.dispatcher import EventDispatcher

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the commands of these tests are a shell's")


def shell(text, **settings):
    return CommandHook(("sh", "-c", text), **settings)


@pytest.fixture
def hooked():
    """Starts a hook behind its dispatcher, as a stream does."""
    dispatchers = []

    def start(hook):
        dispatchers.append(EventDispatcher(hook))
        return dispatchers[-1]

    yield start
    for dispatcher in dispatchers:
        dispatcher.close(5.0)


def test_a_command_gets_the_event_and_none_of_our_secrets(tmp_path, make_event, hooked, wait_until):
    secrets = {"EDGE_SPHEREFACE_GALLERY_KEY": "k", "EDGE_SPHEREFACE_WEBHOOK_SECRET": "s", "NOTIFY_SOCKET": "/run/n"}
    words = f"cat > {tmp_path}/event; env > {tmp_path}/part; mv {tmp_path}/part {tmp_path}/env"
    dispatcher = hooked(shell(words, environment={"PATH": os.environ["PATH"], "ROOM": "hall", **secrets}))
    event = make_event("über")
    dispatcher.give(event)
    wait_until((tmp_path / "env").exists)
    assert (tmp_path / "event").read_text() == event.line() + "\n"
    assert json.loads((tmp_path / "event").read_text())["reason"] == "über"
    names = {line.partition("=")[0] for line in (tmp_path / "env").read_text().splitlines()}
    assert "ROOM" in names
    assert not names & set(secrets)


def test_other_kinds_start_nothing(make_event, hooked, wait_until):
    dispatcher = hooked(shell("exit 1", kinds={"identified"}))
    dispatcher.give(make_event())
    wait_until(lambda: dispatcher.pending() == 0)
    assert (dispatcher.dropped, dispatcher.problem) == (0, "")


def test_failures_are_counted_until_a_command_succeeds(tmp_path, make_event, hooked, wait_until):
    dispatcher = hooked(shell(f"test -e {tmp_path}/well || exit 3"))
    for count in (1, 2):
        dispatcher.give(make_event())
        wait_until(lambda expected=count: dispatcher.dropped == expected)
    assert dispatcher.problem == "command sh: 2 events failed, the last: exit code 3"
    (tmp_path / "well").touch()
    dispatcher.give(make_event())
    wait_until(lambda: not dispatcher.problem)
    assert dispatcher.dropped == 2


def is_gone(pid):
    """Whether a process has ended; one that nobody has waited for yet has ended, too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("closing", [False, True], ids=["after its time", "at the end"])
def test_a_command_is_killed_with_what_it_started(tmp_path, make_event, hooked, wait_until, closing):
    child = tmp_path / "child"
    hook = shell(f"sleep 600 & echo $! > {child}.part; mv {child}.part {child}; wait", timeout_s=60 if closing else 0.2)
    dispatcher = hooked(hook)
    dispatcher.give(make_event())
    wait_until(child.exists)
    if closing:
        dispatcher.close(5.0)
    wait_until(lambda: is_gone(int(child.read_text())))
    wait_until(lambda: dispatcher.dropped == 1)
    assert ("at the end" if closing else "more than 0.2 s") in dispatcher.problem
    assert dispatcher.pending() == 0


def test_no_more_run_than_permitted_and_none_is_lost(tmp_path, make_event, hooked, wait_until):
    """The first waits for a file, so that the second cannot start."""
    words = f"echo x >> {tmp_path}/started; until test -e {tmp_path}/go; do sleep 0.05; done"
    dispatcher = hooked(shell(words, most_running=1))
    dispatcher.give(make_event())
    dispatcher.give(make_event())
    wait_until(lambda: "1 commands run already" in dispatcher.problem)
    assert (tmp_path / "started").read_text() == "x\n"
    assert dispatcher.pending() == 2
    (tmp_path / "go").touch()
    wait_until(lambda: dispatcher.pending() == 0)
    assert (tmp_path / "started").read_text() == "x\nx\n"
    assert dispatcher.dropped == 0


def test_a_command_that_reads_nothing_of_a_long_event_is_no_failure(make_event, hooked, wait_until):
    dispatcher = hooked(CommandHook((sys.executable, "-S", "-c", "")))
    dispatcher.give(make_event("x" * 200_000))
    wait_until(lambda: dispatcher.pending() == 0)
    assert dispatcher.problem == ""


def all_output(capfd, wait_until):
    """What this process has written to both streams, up to a line break."""
    parts = []
    wait_until(lambda: parts.extend(capfd.readouterr()) or "".join(parts).endswith("\n"))
    return "".join(parts)


def test_the_beginning_of_what_a_command_writes_is_passed_on(make_event, hooked, wait_until, capfd):
    """A long output neither stops the command nor fills this process's stderr."""
    words = "import sys; sys.stderr.write('begin ' + 'x' * 1_000_000); print('not passed on')"
    dispatcher = hooked(CommandHook((sys.executable, "-S", "-c", words)))
    dispatcher.give(make_event())
    wait_until(lambda: dispatcher.pending() == 0)
    assert dispatcher.problem == ""
    assert all_output(capfd, wait_until) == "begin " + "x" * 4090 + "… (995910 bytes more)\n"


def test_a_short_output_is_passed_on_whole(make_event, hooked, wait_until, capfd):
    dispatcher = hooked(shell("echo no speaker >&2; exit 3"))
    dispatcher.give(make_event())
    wait_until(lambda: dispatcher.dropped == 1)
    assert all_output(capfd, wait_until) == "no speaker\n"


def test_a_command_that_leaves_a_process_behind_has_ended(tmp_path, make_event, hooked, wait_until):
    """The process keeps the stderr of the command, which ends first."""
    words = f"(until test -e {tmp_path}/go; do sleep 0.05; done; echo late >&2; touch {tmp_path}/done) &"
    dispatcher = hooked(shell(words))
    dispatcher.give(make_event())
    wait_until(lambda: dispatcher.pending() == 0)
    assert dispatcher.problem == ""
    (tmp_path / "go").touch()
    wait_until((tmp_path / "done").exists)


def test_a_program_that_is_not_there_is_told_at_the_start():
    with pytest.raises(SinkError, match="no program 'no-such-program'"):
        EventDispatcher(CommandHook(("no-such-program", "--token=secret")))


def test_a_command_is_split_with_quotes_and_without_a_shell():
    assert parse_command("notify 'front door' $HOME;ls") == ("notify", "front door", "$HOME;ls")
    for text in ("", "  ", "say 'hello", "a\0b"):
        with pytest.raises(ValueError, match="expected a command"):
            parse_command(text)
