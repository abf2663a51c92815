"""HTTP endpoint of the CNI daemon: whether a pod could get its VF now, and metrics. Imported only if configured."""

import asyncio
import contextlib
import pathlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from sriov import errors
from sriov.daemon import endpoint, http_address, pages, process_metrics
from sriov_cni.context import calls, run_directory
from sriov_cni.monitoring import attached_vfs, counters, metrics, policies_metrics, services_metrics


class DaemonMonitor:
    """The endpoint. It is made before the daemon, which counts in `meter`. `interval` is seconds between VF reads."""

    def __init__(self, where: http_address.Address, interval: float, read: attached_vfs.Reader = counters.of) -> None:
        self._where = where
        self._interval = interval
        self._read = read
        self._registry = process_metrics.registry("CNI daemon")
        self.meter = metrics.PrometheusMeter(self._registry)

    def count_services(self, silence: Callable[[], float]) -> services_metrics.ServicesCounter:
        """Return the counter of what the agent sends; `silence` is called by scrapes."""
        self._registry.register(services_metrics.AgentSilence(silence))
        return services_metrics.ServicesCounter(self._registry)

    def count_policies(self, usage: Callable[[], Mapping[str, tuple[int, int]]]) -> policies_metrics.PoliciesMeter:
        """Return the meter of the table of policies; `usage` is called by scrapes."""
        return policies_metrics.PoliciesMeter(self._registry, usage)

    @contextlib.asynccontextmanager
    async def serving(
        self, daemon: calls.Daemon, socket: pathlib.Path, place: run_directory.RunDirectory | None = None
    ) -> AsyncIterator[None]:
        """Answer until the context ends; `socket` is where shims connect, `place` the lock the daemon may wait for.

        Raises SriovError if it cannot listen; the call may be repeated.
        """
        watcher = attached_vfs.Watcher(daemon.node, daemon.book, self._read)

        async def problems() -> Sequence[str]:
            if place is not None and place.waits:
                return [place.reason]
            if daemon.translation is not None:
                await asyncio.to_thread(daemon.translation.prove)
            return [*daemon.problems(), *await asyncio.to_thread(found, daemon, socket)]

        remedy = "give --http an address that is free, and a folder that exists"
        async with endpoint.serving(self._where, pages.routes(problems, self._registry), remedy):
            self._registry.register(metrics.Holdings(lambda: watcher.latest))
            self._registry.register(process_metrics.BackgroundTasks(daemon.tasks))
            if daemon.translation is not None:
                self._registry.register(services_metrics.ServicesInForce(daemon.translation))
            if daemon.guard is not None:
                self._registry.register(metrics.PolicyInForce(daemon.guard.problem))
            looking = asyncio.create_task(
                daemon.tasks.every(self._interval, "reading what pods hold", watcher.look_again)
            )
            try:
                yield
            finally:
                looking.cancel()


def found(daemon: calls.Daemon, socket: pathlib.Path) -> list[str]:
    """Return what would fail every ADD. The kernel is not asked: STATUS does that, and a probe comes often."""
    problems = [] if socket.is_socket() else [f"there is no socket at {socket}: shims wait, then fail"]
    try:
        daemon.book.try_out()
    except errors.SriovError as error:
        problems.append(str(error))
    return problems
