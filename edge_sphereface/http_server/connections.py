"""How many connections a server of this process holds, and whose it gives up first.

A connection is *pending* until its first request is accepted. Pending connections cost their peer nothing, so a new one
replaces the oldest. Accepted ones stay, and beyond their cap new requests are refused. Both have a cap for each
address, so that one peer cannot take the places of all others. The caps follow from the descriptors that the process
may open, so that a camera, a gallery and snapshots can always open theirs.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_RESERVED_DESCRIPTORS = 112
"""Left for cameras, galleries, files, helper processes, and health and metrics with at most 48."""
_MAX_BATCH = 32
_UNKNOWN_LIMIT = 512
"""Descriptors assumed where the system does not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionCaps:
    """How many connections there may be.

    Attributes:
        pending: without an accepted request.
        pending_per_address: likewise, of one address.
        accepted: with an accepted request.
        accepted_per_address: likewise, of one address.
    """

    pending: int
    pending_per_address: int
    accepted: int
    accepted_per_address: int

    @property
    def batch(self) -> int:
        """Connections that an event loop takes at a time.

        Two batches are on their way while the connections that a third has replaced are being closed: together they
        find room among the places for pending connections.
        """
        return max(min(self.pending // 3, _MAX_BATCH), 1)

    @classmethod
    def of_this_process(cls, *, most: int) -> ConnectionCaps:
        """Caps that leave the rest of this process its descriptors.

        Args:
            most: connections, however many descriptors there are.
        """
        total = max(min(most, free_descriptors() - _RESERVED_DESCRIPTORS), 16)
        pending = total // 4
        accepted = total - 2 * pending  # a replaced connection holds its descriptor for a moment more
        return cls(
            pending=pending,
            pending_per_address=max(pending * 3 // 4, 1),
            accepted=accepted,
            accepted_per_address=max(accepted * 7 // 8, 1),
        )


class Connection:
    """One connection, from its acceptance by the system to its end.

    Args:
        peer: address of the other end; an IPv6 network of 64 bits is one peer.
        close: ends it; called from any thread.
    """

    def __init__(self, peer: str, close: Callable[[], object]) -> None:
        self.peer, self.close = peer, close
        self.accepted = self.closing = False


class Connections:
    """The connections of one server. Safe to use from several threads.

    Args:
        caps: how many there may be.
    """

    def __init__(self, caps: ConnectionCaps) -> None:
        self._caps = caps
        self._lock = threading.Lock()
        self._open: dict[Connection, None] = {}  # in the order of their beginning

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, host: str, close: Callable[[], object]) -> Connection | None:
        """Take a new connection, in place of the oldest pending one where a cap is reached.

        Args:
            host: address of the other end.
            close: ends the connection; called from any thread, at most once.

        Returns:
            None where it must be closed at once: those that were replaced have not gone yet.
        """
        connection = Connection(_peer(host), close)
        with self._lock:
            if len(self._open) >= self._caps.accepted + 2 * self._caps.pending:
                return None
            pending = [one for one in self._open if not one.accepted and not one.closing]
            same = [one for one in pending if one.peer == connection.peer]
            replaced = (
                same[0]
                if len(same) >= self._caps.pending_per_address
                else pending[0]
                if len(pending) >= self._caps.pending
                else None
            )
            if replaced is not None:
                replaced.closing = True
            self._open[connection] = None
        if replaced is not None:
            replaced.close()
        return connection

    def accept(self, connection: Connection) -> bool:
        """Keep a connection whose request is accepted; False where too many are kept."""
        with self._lock:
            if connection.accepted:
                return True
            accepted = [one for one in self._open if one.accepted]
            same = sum(one.peer == connection.peer for one in accepted)
            connection.accepted = len(accepted) < self._caps.accepted and same < self._caps.accepted_per_address
            return connection.accepted

    def leave(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        with self._lock:
            self._open.pop(connection, None)


def free_descriptors() -> int:
    """Descriptors that this process may still open."""
    try:
        import resource
    except ImportError:  # Windows
        return _UNKNOWN_LIMIT
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return _UNKNOWN_LIMIT
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"  # noqa: PTH112
    try:
        used = len(os.listdir(folder))  # noqa: PTH208
    except OSError:
        used = 64
    return int(limit) - used


def _peer(host: str) -> str:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return address.packed[:8].hex()  # a provider gives each customer at least such a network
