"""Run a command in a network namespace without a route, with a fresh home folder; report what it looks up and writes.

Usage: ``unshare --map-root-user --net --mount python offline_namespace.py HOME COMMAND...``

Prints a JSON line for each name that is looked up, at once, and in the end one with the files below HOME and the
command's exit code. The only server that can be reached is a resolver in this process, which knows no name.
"""

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

SET_INTERFACE_FLAGS, UP_AND_RUNNING = 0x8914, 0x1 | 0x40
NOT_TOLD = ("CI", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")


def tell(**what):
    sys.stdout.write(f"{json.dumps(what)}\n")
    sys.stdout.flush()


def prepare():
    """Loopback up, and every look-up to 127.0.0.1, past the daemons that answer on sockets below /run."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SET_INTERFACE_FLAGS, struct.pack("16sH14x", b"lo", UP_AND_RUNNING))
    settings = Path("/etc/resolv.conf").resolve()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    if not settings.exists():
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.touch()
    own = Path("/run/own-resolv.conf")
    own.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n", encoding="ascii")
    subprocess.run(["mount", "--bind", str(own), str(settings)], check=True)


def asked_name(query):
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii", "replace"))
        at += query[at] + 1
    return ".".join(labels)


def answer(resolver):
    while True:
        query, sender = resolver.recvfrom(4096)
        tell(lookup=asked_name(query))
        resolver.sendto(query[:2] + b"\x81\x83" + query[4:6] + bytes(6) + query[12:], sender)  # no such name


def main(home, *command):
    prepare()
    resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    resolver.bind(("127.0.0.1", 53))
    threading.Thread(target=answer, args=(resolver,), daemon=True).start()
    variables = {name: value for name, value in os.environ.items() if name not in NOT_TOLD}
    done = subprocess.run(command, env={**variables, "HOME": home}, stdout=subprocess.DEVNULL, check=False)
    files = sorted(str(path.relative_to(home)) for path in Path(home).rglob("*") if not path.is_dir())
    tell(files=files, exit_code=done.returncode)


if __name__ == "__main__":
    main(*sys.argv[1:])
