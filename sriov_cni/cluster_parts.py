"""Parts of the daemon that make pods members of their cluster: Services, what the agent sends, rules for host links.

What the flags do not ask for is not imported: a daemon without it pays nothing.
"""

import argparse
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from sriov import errors
from sriov.linux import host_rules, kernel
from sriov.state import ledger
from sriov_cni.context import calls

if TYPE_CHECKING:
    from sriov_cni.dataplane import reception, services
    from sriov_cni.monitoring import endpoint

_log = logging.getLogger("sriov_cni")


class ClusterParts:
    """`translation` is None without Services, `service_ranges` without an agent."""

    def __init__(self, options: argparse.Namespace, book: ledger.Ledger) -> None:
        self._options, self._book = options, book
        self.translation = self._translator()
        self._reception = self._receiver()

    @property
    def service_ranges(self) -> Callable[[], tuple[str, ...]] | None:
        receiving = self._reception
        return None if receiving is None else lambda: receiving.receiver.ranges

    def other_balancers(self) -> tuple[str, ...]:
        return self._look()

    @functools.cached_property
    def _look(self) -> calls.OtherBalancers:
        from sriov_cni.dataplane import services  # noqa: PLC0415
        from sriov_cni.dataplane.modes import other_balancers  # noqa: PLC0415

        return other_balancers.CiliumLook(lambda: self._options.cgroup_root or services.cgroup_root())

    @contextlib.asynccontextmanager
    async def serving(self, daemon: calls.Daemon, monitor: "endpoint.DaemonMonitor | None") -> AsyncIterator[None]:
        """Begin when the former daemon has ended, whose programs these replace; what is pinned goes on at the end.

        Raises SriovError.
        """
        self._end_former()
        if self.translation is not None:
            self._start(self.translation)
        if self._reception is None:
            yield
            return
        if monitor is not None:
            self._reception.meter = monitor.count_services(self._reception.receiver.silence)
        async with self._reception.serving(daemon.tasks):
            yield

    def _translator(self) -> "services.Translator | None":
        if self._options.services is None:
            return None
        from sriov_cni.dataplane import services  # noqa: PLC0415

        return services.Translator(self._options.services, self._options.cgroup_root or services.cgroup_root())

    def _receiver(self) -> "reception.Reception | None":
        if self._options.cluster_socket is None:
            return None
        from sriov_cni.dataplane import reception  # noqa: PLC0415

        where = reception.Where(self._options.cluster_socket, self._options.cluster_snapshot, self._options.cluster_uid)
        return reception.Reception(where, self.translation, self._book.records)

    def _start(self, translation: "services.Translator") -> None:
        """Load the programs, or take them over, with the pods that the ledger has."""
        translation.start()
        for record in self._book.records():
            if record.cookie:
                translation.admit(record.cookie)
        translation.prove()

    def _end_former(self) -> None:
        """End what a former daemon has left of Services, its table too, if that is asked for."""
        if self._options.remove_services is None:
            return
        from sriov_cni.dataplane import services, table_store  # noqa: PLC0415

        services.remove(self._options.remove_services)
        table_store.Snapshot(self._options.cluster_snapshot).forget()
        _log.info("nothing is left of Services in %s", self._options.remove_services)


def end_host_rules(open_kernel: Callable[[], contextlib.AbstractContextManager[kernel.Kernel]]) -> None:
    """Remove the node's rules for host links if no pod has one: the next daemon makes them again for its first."""
    try:
        with open_kernel() as net:
            if host_rules.is_unused(net):
                host_rules.remove(net)
                _log.info("no pod has a host link: the table %s of nftables is removed", host_rules.TABLE)
    except errors.SriovError as error:
        _log.warning("the table %s of nftables is left: %s", host_rules.TABLE, error)
