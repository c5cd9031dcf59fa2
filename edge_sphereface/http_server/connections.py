"""Limits the connections of a server, and decides which one is closed first.

A connection is *pending* until its first request is accepted. Pending connections cost their peer nothing, so a new one
replaces the oldest. Accepted connections stay, and beyond their cap new requests are refused. Both kinds have a cap per
address, so that one peer cannot take the places of all others. The caps follow from the descriptors that the process
may open, so that cameras, galleries and snapshots can always open theirs.
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
"""Reserved for cameras, galleries, files, helper processes, and at most 48 connections for health and metrics."""
_MAX_BATCH = 32
_UNKNOWN_LIMIT = 512
"""Descriptors assumed where the system reports no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionCaps:
    """Maximum numbers of connections.

    Attributes:
        pending: connections without an accepted request.
        pending_per_address: pending connections of one address.
        accepted: connections with an accepted request.
        accepted_per_address: accepted connections of one address.
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
        """Caps that leave enough descriptors to the rest of this process.

        Args:
            most: maximum number of connections, however many descriptors there are.
        """
        total = max(min(most, free_descriptors() - _RESERVED_DESCRIPTORS), 16)
        pending = total // 4
        accepted = total - 2 * pending  # a replaced connection keeps its descriptor for a moment
        return cls(
            pending=pending,
            pending_per_address=max(pending * 3 // 4, 1),
            accepted=accepted,
            accepted_per_address=max(accepted * 7 // 8, 1),
        )


class Connection:
    """One open connection.

    Args:
        peer: address of the other end; an IPv6 network of 64 bits is one peer.
        close: closes the connection; called from any thread.
    """

    def __init__(self, peer: str, close: Callable[[], object]) -> None:
        self.peer, self.close = peer, close
        self.accepted = self.closing = False


class Connections:
    """The open connections of one server. Safe to use from several threads.

    Args:
        caps: limits of their numbers.
    """

    def __init__(self, caps: ConnectionCaps) -> None:
        self._caps = caps
        self._lock = threading.Lock()
        self._open: dict[Connection, None] = {}  # oldest first

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, host: str, close: Callable[[], object]) -> Connection | None:
        """Add a new connection, in place of the oldest pending one if a cap is reached.

        Args:
            host: address of the other end.
            close: closes the connection; called from any thread, at most once.

        Returns:
            The connection; None if it must be closed at once, because replaced ones are still being closed.
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
        """Mark a connection whose request is accepted; False if a cap of accepted connections is reached."""
        with self._lock:
            if connection.accepted:
                return True
            accepted = [one for one in self._open if one.accepted]
            same = sum(one.peer == connection.peer for one in accepted)
            connection.accepted = len(accepted) < self._caps.accepted and same < self._caps.accepted_per_address
            return connection.accepted

    def leave(self, connection: Connection) -> None:
        """Remove a connection that has ended."""
        with self._lock:
            self._open.pop(connection, None)


def free_descriptors() -> int:
    """Number of descriptors that this process may still open."""
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
    return address.packed[:8].hex()  # providers give each customer at least such a network
