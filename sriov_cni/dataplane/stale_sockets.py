"""End of UDP sockets that are connected to a backend which their Service does not have any more.

A TCP connection to such a backend ends with it. A datagram socket would send to its address for ever, so it is ended in
the pod's namespace: its next call fails, and the application connects again. Only sockets that came there by the
Service that has changed: the programs write down by which one a socket got its peer. Nothing waits for this: it is done
after the change, by one thread, one pod after the other.
"""

import asyncio
import contextlib
import errno
import itertools
import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping

import msgspec

from sriov import errors
from sriov.cluster import services
from sriov.linux import netns
from sriov.linux.sockets import inet_diag
from sriov.state import ledger
from sriov_cni.dataplane import service_maps

_log = logging.getLogger(__name__)

_MOST = 1 << 16  # sockets of a pod that are looked at: it may have made more, to keep us busy
_LACKING = (errno.ENOENT, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT)
_UDP = bytes((17, service_maps.PODS))  # the last two bytes of a frontend


class Present(msgspec.Struct):
    """Backends that changed Services have now, as keys of maps. With `whole`, a Service that is not here has none."""

    backends: dict[bytes, frozenset[bytes]] = {}
    whole: bool = False

    def change(self, change: services.TableChange) -> None:
        if change.whole:
            self.whole, self.backends = True, {}
        for gone in change.gone:
            self.backends[service_maps.frontend(gone)] = frozenset()
        for each in change.services:
            protocol = each.frontend.protocol
            if protocol is services.Protocol.UDP:
                now = frozenset(service_maps.address(backend, protocol) for backend in each.backends)
                self.backends[service_maps.frontend(each.frontend)] = now

    def stale(self, reached: Iterable[service_maps.Reached]) -> dict[int, dict[int, bytes]]:
        """Return, by namespace, the sockets whose backend is gone, and that backend. Pure."""
        found: dict[int, dict[int, bytes]] = {}
        for cookie, namespace, backend, frontend in reached:
            now = self.backends.get(frontend, frozenset() if self.whole else None)
            if now is not None and frontend.endswith(_UDP) and backend not in now:
                found.setdefault(namespace, {})[cookie] = backend
        return found


class Ender:
    """`reached` is what the programs have written down, `records` are the pods, `count` is told how many were ended."""

    def __init__(
        self,
        reached: Callable[[], Iterable[service_maps.Reached]],
        records: Callable[[], Iterable[ledger.Record]],
        count: Callable[[int], None] = lambda _number: None,
        connect: Callable[[], inet_diag.Sockets] = inet_diag.InetDiag,
    ) -> None:
        self._reached, self._records, self._count, self._connect = reached, records, count, connect
        self._present = Present()
        self._lock = threading.Lock()
        self._wake: Callable[[], object] = lambda: None
        self._told: set[str] = set()

    def note(self, change: services.TableChange) -> None:
        """Take note of a change that is in force. For any thread."""
        with self._lock:
            self._present.change(change)
        self._wake()

    async def run(self) -> None:
        """End sockets after each change, until cancelled."""
        noted, loop = asyncio.Event(), asyncio.get_running_loop()
        noted.set()
        self._wake = lambda: loop.call_soon_threadsafe(noted.set)
        while await noted.wait():
            noted.clear()
            await asyncio.to_thread(self.end)

    def end(self) -> None:
        """End what the changes so far have left. Blocks, some tenths of a millisecond for a pod with such sockets."""
        with self._lock:
            present, self._present = self._present, Present()
        if not present.whole and not present.backends:
            return
        stale = present.stale(self._reached())
        if not stale:
            return
        for record in self._records():
            if (sockets := stale.get(record.cookie)) is not None:
                self._end_in(record, sockets)

    def _end_in(self, record: ledger.Record, stale: Mapping[int, bytes]) -> None:
        try:
            with netns.open_path(record.owner.netns) as pod:
                if netns.cookie(pod) == record.cookie:
                    with netns.entered(pod):
                        ended = self._end_here(stale)
                    self._count(ended)
                    if ended:
                        _log.info(
                            "%d UDP sockets of %s were connected to backends that are gone: ended", ended, record.owner
                        )
        except errors.NetnsError as error:
            _log.debug("sockets of %s are not ended: %s", record.owner, error)  # the pod is ending
        except OSError as error:
            self._complain(error)

    def _end_here(self, stale: Mapping[int, bytes]) -> int:
        """Return how many sockets of the thread's namespace were ended."""
        with contextlib.closing(self._connect()) as listing, contextlib.closing(self._connect()) as ending:
            looked_at = itertools.islice(listing.connected_udp(), _MOST)
            found = [each for each in looked_at if stale.get(each.cookie) == _peer(each)]
            return sum(_end(ending, each) for each in found)

    def _complain(self, error: OSError) -> None:
        """Once for each reason: with the next change it would be the same."""
        why = os.strerror(error.errno) if error.errno else str(error)
        if error.errno in _LACKING:
            why = "this kernel does not end sockets (CONFIG_INET_UDP_DIAG, CONFIG_INET_DIAG_DESTROY)"
        if why not in self._told:
            self._told.add(why)
            _log.warning("UDP sockets of pods stay connected to backends that are gone: %s", why)


def _end(sockets: inet_diag.Sockets, which: inet_diag.UdpSocket) -> bool:
    try:
        sockets.end(which)
    except FileNotFoundError:  # it has just been closed
        return False
    return True


def _peer(each: inet_diag.UdpSocket) -> bytes:
    return each.address + each.port.to_bytes(2, "big") + _UDP
