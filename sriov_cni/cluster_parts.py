"""Parts of the daemon that make pods members of their cluster: Services, policies, the agent's tables, rules of links.

What the flags do not ask for is not imported: a daemon without it pays nothing.
"""

import argparse
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from sriov import errors
from sriov.attachment import node
from sriov.linux import host_rules, kernel
from sriov.state import ledger
from sriov_cni.context import calls

if TYPE_CHECKING:
    from sriov.state import policy_notes
    from sriov_cni.dataplane import reception, services
    from sriov_cni.dataplane.policies import tables
    from sriov_cni.monitoring import endpoint

_log = logging.getLogger("sriov_cni")


class ClusterParts:
    """`translation` is None without Services, `service_ranges` without an agent, `policies` without one that sends any.

    Made in an event loop. A test passes `policies` that no agent sends.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        here: node.Node,
        book: ledger.Ledger,
        policies: calls.PolicySource | None = None,
    ) -> None:
        self._options, self._book = options, book
        self.translation = self._translator()
        self._reception = self._receiver()
        self._tables = self._policy_tables()
        self.policies = policies or self._tables
        self.enforcement = None if self.policies is None else _enforcement(here)
        self.notes = None if self.policies is None else self._note_file()

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
        async with contextlib.AsyncExitStack() as receiving:
            if self._reception is not None:
                if monitor is not None:
                    self._reception.meter = monitor.count_services(self._reception.receiver.silence)
                await receiving.enter_async_context(self._reception.serving(daemon.tasks))
            if self._tables is not None:
                await receiving.enter_async_context(self._receiving_policies(self._tables, daemon, monitor))
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

    def _policy_tables(self) -> "tables.PolicyTables | None":
        if self._options.policy_socket is None:
            return None
        from sriov_cni.dataplane.policies import tables  # noqa: PLC0415

        return tables.PolicyTables()

    def _note_file(self) -> "policy_notes.NoteFile":
        from sriov.state import policy_notes  # noqa: PLC0415

        return policy_notes.NoteFile(self._options.run_dir)

    def _receiving_policies(
        self, held: "tables.PolicyTables", daemon: calls.Daemon, monitor: "endpoint.DaemonMonitor | None"
    ) -> contextlib.AbstractAsyncContextManager[None]:
        from sriov_cni.dataplane.policies import reception  # noqa: PLC0415

        options = self._options
        places = reception.PolicyPlaces(options.policy_socket, options.policy_snapshot, options.cluster_uid)
        if monitor is None:
            return reception.made(places, held).serving(places.socket, daemon.tasks)
        meter = monitor.count_policies(held.usage)
        receiving = reception.made(places, held, meter)
        meter.silence = receiving.silence
        return receiving.serving(places.socket, daemon.tasks)

    def _start(self, translation: "services.Translator") -> None:
        """Load the programs, or take them over, with the pods that the ledger has."""
        translation.start()
        for record in self._book.records():
            if record.cookie:
                translation.admit(record.cookie)
        translation.prove()

    def _end_former(self) -> None:
        """End what a former daemon has left of Services, and the tables of its agent, if that is asked for."""
        if self._options.remove_services is None:
            return
        from sriov_cni.dataplane import services, table_store  # noqa: PLC0415
        from sriov_cni.dataplane.policies import reception  # noqa: PLC0415

        services.remove(self._options.remove_services)
        table_store.Snapshot(self._options.cluster_snapshot).forget()
        if self._options.policy_socket is None:
            reception.kept(self._options.policy_snapshot).forget()
        _log.info("nothing is left of Services in %s", self._options.remove_services)


def _enforcement(here: node.Node) -> calls.Enforcement:
    from sriov_cni.dataplane.policies import policy_enforcer  # noqa: PLC0415

    return policy_enforcer.Enforcer(here.kernel)


def end_host_rules(open_kernel: Callable[[], contextlib.AbstractContextManager[kernel.Kernel]]) -> None:
    """Remove the node's rules for host links if no pod has one: the next daemon makes them again for its first."""
    try:
        with open_kernel() as net:
            if host_rules.is_unused(net):
                host_rules.remove(net)
                _log.info("no pod has a host link: the table %s of nftables is removed", host_rules.TABLE)
    except errors.SriovError as error:
        _log.warning("the table %s of nftables is left: %s", host_rules.TABLE, error)
