"""Runs the commands of pages line by line on fresh systems, as a reader would, and records what happened.

``python -m scripts.try_pages`` needs root on Debian, ``apt install debootstrap qemu-user-static systemd-container``,
the folder that ``make model MODEL_ARGS=--pretrained`` makes, and a network that reaches Debian's, Ubuntu's and
Python's registries. Systems lie in ``build/pages``; each page starts in a copy that is deleted afterwards, and arm64 is
emulated.

A user ``pi`` types the commands into one shell. What a page says to copy from a workstation is copied. A command that
cannot run here is listed with the reason, and one that ran with something in place of a camera says so.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from benchmarks.emulation.emulator import READ_FEATURES
from benchmarks.emulation.processors import PROCESSORS, cpuinfo
from benchmarks.environment import describe
from edge_sphereface.json_output import json_text
from export.orl.faces import read_orl

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.emulation.processors import Processor
    from benchmarks.environment import Environment

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "pages"
MODEL = ROOT / "build" / "model"
BUILD = ROOT / "build" / "pages"
RAN, FAILED, NOT_RUN, ELSEWHERE = "ran", "failed", "not run", "on the workstation"
_MARK = "@@ended"
_LIMIT_S, _HALT_S = 3600, 10
_BAR = "\u2501"  # of pip's progress
_SAID_LINES, _SAID_WIDTH = 4, 160
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_DEBIAN, _UBUNTU = "http://deb.debian.org/debian", "http://archive.ubuntu.com/ubuntu"
_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_EMULATOR = "edge-sphereface-arm64"
_MAGIC = rb"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
_MASK = rb"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A fresh system.

    Attributes:
        name: description for the record.
        release: name of the release for debootstrap.
        mirror: address of the registry.
        architecture: Debian architecture.
        boots: whether systemd is started; otherwise there are processes only.
        core: name of the emulated core in ``PROCESSORS``; empty for this machine's.
        others: pattern of commands that a page has for other systems.
    """

    name: str
    release: str
    mirror: str = _DEBIAN
    architecture: str = "amd64"
    boots: bool = False
    core: str = ""
    others: str = r"(?!)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one command of a page did.

    Attributes:
        page: path of the page.
        section: heading above the command.
        command: text of the command.
        system: name of the system.
        outcome: ``ran`` (exit code 0), ``failed``, ``not run`` or ``on the workstation``.
        seconds: duration; None if it did not run.
        said: last lines of its output.
        note: what stood in for something, or why it did not run.
    """

    page: str
    section: str
    command: str
    system: str
    outcome: str
    seconds: float | None = None
    said: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PagesReport:
    """The record.

    Attributes:
        environment: the machine that the systems ran on.
        facts: system, processor and Python of each system, by its name.
        outcomes: every command, in the order of the pages.
    """

    environment: Environment
    facts: dict[str, str]
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """How a command is treated: a pattern, what runs in its place (None: nothing), and the note."""

    pattern: str
    instead: str | None
    note: str
    outcome: str = NOT_RUN


SYSTEMS = {
    "bookworm-arm64": System(
        name="Debian 12, emulated Cortex-A72",
        release="bookworm",
        architecture="arm64",
        core="cortex-a72",
        others=r"picamera2/bin/pip .*\]'$",
    ),
    "trixie-arm64": System(
        name="Debian 13, emulated Cortex-A76",
        release="trixie",
        architecture="arm64",
        core="cortex-a76",
        others=r"picamera2/bin/pip .*'numpy<2'",
    ),
    "jammy": System(name="Ubuntu 22.04, amd64", release="jammy", mirror=_UBUNTU),
    "bookworm": System(name="Debian 12, amd64, systemd", release="bookworm", boots=True),
}
TRIPS = {
    "bookworm-arm64": ("docs/raspberry-pi.md",),
    "trixie-arm64": ("docs/raspberry-pi.md",),
    "jammy": ("docs/jetson.md",),
    "bookworm": ("docs/getting-started.md", "docs/operation.md"),
}
"""Pages that are read one after the other on a system."""

FILM = "a film of a known face in place of the camera"
TEST_PICTURE = r"timeout --preserve-status 60 \1'videotestsrc is-live=true !"
RULES = (
    Rule(r"^make model", None, "makes the folder that the next command copies", ELSEWHERE),
    Rule(
        r"^cp -r build/model ~/model", "cp -r /given/model /given/people /given/*.jpg ~", "with photographs of people"
    ),
    Rule(r"edge-sphereface fetch-detector", None, "GitHub was not reached"),
    Rule(r"^scp -r build/model .*", "cp -r /given/model model", "copied without a network"),
    Rule(r"^scp -r people .*", "cp -r /given/people /given/group.jpg .", "copied without a network"),
    Rule(r"^(vcgencmd|sudo nvpmodel|sudo jetson_clocks|tegrastats)\b", None, "a program of the board's maker"),
    Rule(r"^docker ", None, "no container engine; `scripts/build-image` builds and runs the image"),
    Rule(r"nvarguscamerasrc", None, "NVIDIA's GStreamer elements and a camera"),
    Rule(r"--provider tensorrt", None, "TensorRT"),
    Rule(r"--provider cuda", "--provider cpu", "the CPU in place of CUDA"),
    Rule(
        r"pip install onnxruntime-gpu --index-url \S+", "pip install onnxruntime", "PyPI's wheel in place of NVIDIA's"
    ),
    Rule(
        r"apt install python3-picamera2",
        "apt install python3-numpy",
        "Debian's numpy alone: Raspberry Pi's registry was not reached",
    ),
    Rule(r"^(edge.*)'libcamerasrc !", TEST_PICTURE, "a test picture in place of the camera, ended by SIGTERM"),
    Rule(r"watch (0|rtsp://camera/stream)(?= |$)", "watch /given/film.avi", FILM),
    Rule(r"^rpicam-vid", "rpicam-vid", "a script that writes the same formats in place of `rpicam-vid`"),
    Rule(
        r"^sudoedit (\S+)", r"""sudo sed -i 's|^source = .*|source = "/var/lib/edge-sphereface/film.avi"|' \1""", FILM
    ),
    Rule(r"^edge-sphereface tune ", None, "emulation is slow: it did not end within seven minutes"),
    Rule(r"^sudo (journalctl .*--follow)", r"sudo timeout --signal=INT 5 \1 || test $? = 124", "ended after 5 s"),
)
SYSTEMD = Rule(r"\b(systemctl|journalctl|127\.0\.0\.1:9464)\b", None, "needs systemd")
UNTRIED = "its arguments are parsed by tests/test_readme.py"
_RPICAM_VID = """\
#!/bin/sh
case "$*" in *yuv420*) exec cat /given/film.yuv ;; esac
exec cat /given/film.mjpeg
"""
_PREPARE = f"""\
set -e
echo "127.0.1.1 $(hostname)" >> /etc/hosts
useradd --create-home --shell /bin/bash pi
echo 'pi ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/pi
echo 'Defaults env_keep += "PIP_CERT PIP_FIND_LINKS PIP_DEFAULT_TIMEOUT QEMU_CPU"' >> /etc/sudoers.d/pi
echo 'APT::Get::Assume-Yes "true";' > /etc/apt/apt.conf.d/90yes
printf '%s' '{_RPICAM_VID}' > /usr/local/bin/rpicam-vid
chmod 755 /usr/local/bin/rpicam-vid
install -D --mode 644 /given/film.avi /var/lib/edge-sphereface/film.avi
"""
_FACTS = ". /etc/os-release; echo $PRETTY_NAME, $(uname -m), $(python3 --version 2>&1)"


def read_commands(page: str, system: str = "") -> Iterator[Outcome]:
    """The commands of a page, in their order; a line that ends in ``|`` or a backslash continues."""
    section, inside, lines = "", False, []
    for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and not inside:
            section = line.lstrip("# ")
        if line.startswith("```"):
            inside = line == "```bash"
        elif inside:
            lines.append(re.sub(r"\s+# .*$", "", line))
            if not lines[-1].endswith(("|", "\\")):
                command = "\n".join(lines)
                yield Outcome(page=page, section=section, command=command, system=system, outcome=NOT_RUN)
                lines = []


class Shell:
    """A shell of the user ``pi`` in a system; it keeps folder, variables and environment from command to command."""

    def __init__(self, words: Sequence[str]) -> None:
        self._process = subprocess.Popen(  # noqa: S603
            [*words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )

    def run(self, command: str) -> tuple[int, list[str]]:
        """Exit code and output of a command; 124 if it took too long, which ends the shell."""
        assert self._process.stdin is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        timer = threading.Timer(_LIMIT_S, self._process.kill)
        timer.start()
        try:
            self._process.stdin.write(f"{{ {command}\n}} </dev/null\nended=$?; echo; echo {_MARK} $ended\n")
            self._process.stdin.flush()
            lines: list[str] = []
            for line in self._process.stdout:
                if line.startswith(_MARK):
                    return int(line.split()[1]), [text for text in lines if text and _BAR not in text]
                lines.append(line.rstrip().split("\r")[-1])
        finally:
            timer.cancel()
        return 124, lines

    def close(self) -> None:
        """End the shell, without which a container does not end."""
        assert self._process.stdin is not None  # noqa: S101
        with self._process:
            self._process.stdin.close()
            try:
                self._process.wait(_HALT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()


@contextmanager
def started(key: str, given: Path) -> Iterator[Shell]:
    """A copy of a system with its prepared user."""
    system = SYSTEMS[key]
    words = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--ephemeral", f"--directory={_root(system)}"]
    words += [f"--bind-ro={given}:/given", f"--bind-ro={_CERTIFICATES}", "--resolv-conf=copy-host", "--timezone=off"]
    words += ["--boot"] if system.boots else ["--as-pid2", "/bin/sleep", "infinity"]
    container = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # noqa: S603
    try:
        inside = ["nsenter", f"--target={_leader(container.pid)}", "--all"]
        if system.boots:
            _run(
                [
                    *inside,
                    "/bin/sh",
                    "-c",
                    "until systemctl is-system-running | grep -E 'running|degraded'; do sleep 1; done",
                ]
            )
        _run([*inside, "/bin/sh", "-c", _PREPARE])
        kept = {"PIP_FIND_LINKS": "/given/dist", "PIP_CERT": str(_CERTIFICATES), "PIP_DEFAULT_TIMEOUT": "180"}
        variables = {
            "HOME": "/home/pi",
            "USER": "pi",
            "LANG": "C.UTF-8",
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin",
        }
        if system.core:
            variables["QEMU_CPU"] = PROCESSORS[system.core].qemu
            _tell_core(PROCESSORS[system.core], inside)
        pairs = [f"{name}={value}" for name, value in (variables | kept).items()]
        shell = Shell([*inside, "runuser", "-u", "pi", "--", "env", "-i", *pairs, "sh", "-c", "cd && exec bash"])
        try:
            yield shell
        finally:
            shell.close()
    finally:
        container.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            container.wait(_HALT_S)
        container.send_signal(signal.SIGTERM)  # a second one ends it at once
        container.wait()


def _tell_core(processor: Processor, inside: list[str]) -> None:
    """Give a system the /proc/cpuinfo of an emulated core, which onnxruntime reads."""
    words = [*inside, "env", f"QEMU_CPU={processor.qemu}", "python3", "-c", READ_FEATURES]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout  # noqa: S603
    hwcap, hwcap2 = map(int, said.split())
    text = cpuinfo(processor, hwcap, hwcap2, os.cpu_count() or 1)
    mount = "cat > /run/cpuinfo && mount --bind /run/cpuinfo /proc/cpuinfo"
    subprocess.run([*inside, "/bin/sh", "-c", mount], input=text, text=True, check=True)  # noqa: S603


def _leader(pid: int) -> str:
    """The first process of a container, which appears a moment after its monitor."""
    for _ in range(3000):
        found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)  # noqa: S603, S607
        for child in found.stdout.split():
            root = Path(f"/proc/{child}/root/given")
            if root.is_dir():
                return child
        time.sleep(0.1)
    raise SystemExit("the container did not start")


def _root(system: System) -> Path:
    root = BUILD / f"{system.release}-{system.architecture}"
    if not root.is_dir():
        part = root.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        packages = [
            "ca-certificates",
            "sudo",
            "python3",
            *(["systemd-sysv", "dbus"] if system.mirror == _DEBIAN else []),
        ]
        unsigned = [] if system.mirror == _DEBIAN else ["--no-check-gpg"]  # Debian has no package with Ubuntu's keys
        words = ["debootstrap", "--variant=minbase", f"--arch={system.architecture}", *unsigned]
        _run([*words, f"--include={','.join(packages)}", system.release, str(part), system.mirror])
        if system.mirror == _UBUNTU:
            (part / "etc/apt/sources.list").write_text(f"deb {_UBUNTU} {system.release} main universe\n")
        part.rename(root)
    return root


def _emulate() -> None:
    """Let the kernel start arm64 programs in QEMU, also those that change the user, such as sudo (C)."""
    if not (_BINFMT / "register").exists():
        _run(["mount", "-t", "binfmt_misc", "none", str(_BINFMT)])
    if not (_BINFMT / _EMULATOR).exists():
        line = b":%s:M::%s:%s:/usr/bin/qemu-aarch64-static:OCF" % (_EMULATOR.encode(), _MAGIC, _MASK)
        (_BINFMT / "register").write_bytes(line)


def _run(words: list[str], *, check: bool = True) -> None:
    subprocess.run(words, check=check, stdin=subprocess.DEVNULL, stdout=sys.stderr)  # noqa: S603


def prepare(folder: Path) -> None:
    """Write what a reader has: the wheel, the model, photographs of people, and films of what the camera sees."""
    folder.chmod(0o755)
    shutil.copytree(MODEL, folder / "model")
    _run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder / "dist"), str(ROOT)])
    photographs = {(item.person, item.number): item.image for item in read_orl()}
    for name, person in (("Ann Lee", 1), ("Bob Ray", 2)):
        (folder / "people" / name).mkdir(parents=True)
        for number in (1, 2, 3):
            cv2.imwrite(str(folder / "people" / name / f"{number}.jpg"), photographs[person, number])
    cv2.imwrite(str(folder / "group.jpg"), cv2.hconcat([photographs[person, 4] for person in (1, 2, 3)]))
    for number, name in enumerate(("a", "b", "ann1", "ann2"), start=5):
        cv2.imwrite(str(folder / f"{name}.jpg"), photographs[1, number])
    frame = np.zeros((480, 640, 3), np.uint8)
    frame[60:364, 180:444] = photographs[1, 4]
    film = cv2.VideoWriter(str(folder / "film.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 5, (640, 480))
    for _ in range(100):
        film.write(frame)
    film.release()
    (folder / "film.mjpeg").write_bytes(cv2.imencode(".jpg", frame)[1].tobytes() * 40)
    (folder / "film.yuv").write_bytes(cv2.cvtColor(frame, cv2.COLOR_BGR2YUV_I420).tobytes() * 40)


def attempt(shell: Shell, asked: Outcome, system: System) -> Outcome:
    """Run the command of an outcome that is still open, or say why not."""
    instead, notes = asked.command, []
    for rule in (Rule(system.others, None, "for another system"), *RULES, *(() if system.boots else (SYSTEMD,))):
        if not re.search(rule.pattern, instead, re.MULTILINE):
            continue
        if rule.instead is None:
            return replace(asked, outcome=rule.outcome, note=rule.note)
        instead = re.sub(rule.pattern, rule.instead, instead, flags=re.MULTILINE)
        notes.append(rule.note)
    begin = time.monotonic()
    code, lines = shell.run(instead)
    seconds = round(time.monotonic() - begin, 1)
    print(f"{f'exit code {code}' if code else 'ran':12} {seconds:7.1f} s  {instead}", file=sys.stderr)
    if code:
        print("\n".join(f"    {line}" for line in lines[-15:]), file=sys.stderr)
    said = tuple(line[:_SAID_WIDTH] for line in lines[-_SAID_LINES:])
    return replace(asked, outcome=FAILED if code else RAN, seconds=seconds, said=said, note="; ".join(notes))


def travel(key: str, given: Path) -> tuple[str, list[Outcome]]:
    """The pages of a system, in their order."""
    system = SYSTEMS[key]
    if system.architecture == "arm64":
        _emulate()
    with started(key, given) as shell:
        asked = [item for page in TRIPS[key] for item in read_commands(page, system.name)]
        outcomes = [attempt(shell, item, system) for item in asked]
        _, facts = shell.run(_FACTS)
    return facts[-1], outcomes


def untried() -> list[Outcome]:
    """The commands of all other pages."""
    tried = {page for pages in TRIPS.values() for page in pages}
    pages = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
    return [replace(item, note=UNTRIED) for page in pages if page not in tried for item in read_commands(page)]


def table(report: PagesReport) -> str:
    """The record as a page."""
    lines = [
        "# Commands of the pages",
        "",
        "`python -m scripts.try_pages` types the commands of the pages line by line into a shell on a fresh system.",
        "",
        *(f"* {name}: {facts}" for name, facts in report.facts.items()),
    ]
    page = ""
    for item in report.outcomes:
        if item.page != page:
            page = item.page
            lines += ["", f"## {page}", "", "| command | system | outcome | note |", "|---|---|---|---|"]
        command = item.command.replace("|", "\\|").replace("\n", " ")
        lines.append(f"| `{re.sub(' +', ' ', command)}` | {item.system} | {item.outcome} | {item.note} |")
    return "\n".join([*lines, ""])


def read_record(path: Path) -> tuple[dict[str, str], list[Outcome]]:
    """Facts and outcomes of an earlier run; both empty if there is none."""
    if not path.is_file():
        return {}, []
    earlier = json.loads(path.read_text(encoding="utf-8"))
    tried = (Outcome(**item) for item in earlier["outcomes"] if item["system"])
    return earlier["facts"], [replace(item, said=tuple(item.said)) for item in tried]


def keep(folder: Path, trips: Mapping[str, tuple[str, list[Outcome]]]) -> None:
    """Write the record of the systems that were tried; for the others, that of an earlier run stays."""
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "pages.json"
    facts, outcomes = read_record(record)
    for system, (told, tried) in trips.items():
        facts[system] = told
        outcomes = [*(item for item in outcomes if item.system != system), *tried]
    pages = [page for trip in TRIPS.values() for page in trip]
    outcomes.sort(key=lambda item: pages.index(item.page))
    report = PagesReport(environment=describe(), facts=facts, outcomes=(*outcomes, *untried()))
    record.write_text(f"{json_text(report)}\n", encoding="utf-8")
    record.with_suffix(".md").write_text(table(report), encoding="utf-8")


def main() -> int:
    """Run the pages of some systems, keep the outcomes of the others, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="*", metavar="SYSTEM", help=f"default: all of {', '.join(SYSTEMS)}")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS, metavar="FOLDER", help="default: the record")
    arguments = parser.parse_args()
    unknown = set(arguments.systems) - set(SYSTEMS)
    if unknown or os.geteuid():
        parser.error(f"there is no system {', '.join(unknown)}" if unknown else "it makes systems and needs root")
    if not MODEL.is_dir():
        parser.error(f"{MODEL} is missing: make model MODEL_ARGS=--pretrained")
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="given-") as name:
        prepare(Path(name))
        trips = {SYSTEMS[key].name: travel(key, Path(name)) for key in arguments.systems or SYSTEMS}
    keep(arguments.output, trips)
    return int(any(item.outcome == FAILED for _, tried in trips.values() for item in tried))


if __name__ == "__main__":
    sys.exit(main())
