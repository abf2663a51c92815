"""Proof that the programs for Services work: connections through them, in a network namespace of the daemon's own.

That programs are attached shows nothing: another one may refuse or change what they have translated, or a table may
have been changed. So a namespace with nothing but loopback asks for a Service's address, to which it has no way, and
must come to its own listener. Its Services are in a space of their own: no pod has them, and it has none of the pods'.
"""

import contextlib
import itertools
import threading
from collections.abc import Iterator

import msgspec

from sriov import errors
from sriov.cluster import services
from sriov.linux import kernel, netlink, netns
from sriov.linux.bpf import maps
from sriov_cni.dataplane import connections, service_maps, service_table

INTERVAL = 10.0  # seconds between two proofs, at least
_PORT = 4096
_ADDRESSES = {"192.0.2.1": "127.0.0.1", "100::1": "::1"}
"""Of a Service and its backend. Nothing has the first ones (RFC 5737; RFC 6666)."""
_SERVED = [
    services.Service(services.Frontend(address, _PORT, protocol), (services.Endpoint(backend, _PORT),))
    for (address, backend), protocol in itertools.product(_ADDRESSES.items(), services.Protocol)
]

_REMEDY = (
    "another program of a cgroup may refuse it or change it (bpftool cgroup tree); if the tables were changed,"
    " restart the daemon"
)


class Maps(msgspec.Struct, frozen=True):
    pods: maps.Map
    services: maps.Map
    backends: maps.Map


class Prover:
    """Makes a proof when asked, but not too often. `problem` is what the last one found, "" for nothing."""

    def __init__(self, tables: Maps, interval: float = INTERVAL) -> None:
        """Its Services are written here, and not once more: if somebody removes them, that is seen. Raises OSError."""
        self.problem = ""
        self._tables, self._interval = tables, interval
        self._place: netns.Netns | None = None
        self._last: float | None = None
        self._lock = threading.Lock()
        left = service_maps.pod_space(service_maps.PROOF)  # by a daemon that was killed in the middle of a proof
        tables.pods.delete([key for key, value in tables.pods.entries() if value == left])
        for index, service in enumerate(_SERVED, service_table.MOST_BACKENDS):
            key = service_maps.frontend(service.frontend, service_maps.PROOF)
            entry = service_maps.Entry(index, 1, 0, 0, 0)
            tables.backends.update(service_maps.backends(service, entry))
            tables.services.update([(key, service_maps.entry(key, entry))])

    def prove(self, now: float) -> bool:
        """Report whether it was time for a proof. Blocks; `now` is in seconds of a clock that goes on evenly."""
        with self._lock:
            if self._last is not None and now - self._last < self._interval:
                return False
            self._last = now
            self.problem = self._problem()
            return True

    def close(self) -> None:
        """The namespace ends."""
        with self._lock:
            if self._place is not None:
                self._place.close()
                self._place = None

    def _problem(self) -> str:
        try:
            if self._place is None:
                self._place = _with_loopback()
            with self._admitted(self._place), netns.entered(self._place):
                failed = next(filter(None, map(connections.attempt, _SERVED)), "")
        except (OSError, errors.SriovError) as error:
            return f"it cannot be proven that programs for Services work: {error}"
        return f"programs for Services are attached and run, but {failed}; {_REMEDY}" if failed else ""

    @contextlib.contextmanager
    def _admitted(self, place: netns.Netns) -> Iterator[None]:
        """No longer than needed: a daemon that is killed leaves nothing behind."""
        key = service_maps.pod(netns.cookie(place))
        self._tables.pods.update([(key, service_maps.pod_space(service_maps.PROOF))])
        try:
            yield
        finally:
            self._tables.pods.delete([key])


def _with_loopback() -> netns.Netns:
    made = netns.created()
    try:
        with netns.entered(made), contextlib.closing(netlink.Netlink(made)) as inside:
            inside.set_link("lo", kernel.Change(up=True))
    except BaseException:
        made.close()
        raise
    return made
