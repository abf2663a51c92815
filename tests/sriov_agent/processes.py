"""The agent as a process of its own, and the daemon's receiver in this one."""

import asyncio
import contextlib
import json
import pathlib
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping

from sriov.cluster import policies, policy_changes, services
from sriov.cluster.policies import Place
from sriov.daemon import background
from sriov_cni.dataplane import receiver, table_store
from sriov_cni.dataplane.policies import reception, tables
from tests.sriov_agent import cluster

ROOT = pathlib.Path(__file__).parents[2]


def kubeconfig(folder: pathlib.Path, port: int) -> str:
    """Write the file; returns the agent's flag for it."""
    document = {
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c"}}],
        "current-context": "c",
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(document))
    return f"--kubeconfig={path}"


@contextlib.asynccontextmanager
async def agent(
    folder: pathlib.Path, *flags: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """An agent, whose log goes to the file `agent.log` of the folder."""
    command = [
        *(sys.executable, "-P", "-W", "error", "-m", "sriov_agent", f"--node={cluster.NODE}"),
        *(f"--cluster-socket={folder / 'agent.sock'}", *flags),
    ]
    with (folder / "agent.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, env={"PYTHONPATH": str(ROOT), **(environment or {})}, stderr=log
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def certificate(folder: pathlib.Path) -> pathlib.Path:
    """A server's, signed by itself; written anew with its key, and as `ca.crt`."""
    ca, key = folder / "ca.crt", folder / "key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x",
         "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2", "-out", ca, "-keyout", key],
        check=True, capture_output=True,
    )  # fmt: skip
    both = folder / "server.pem"
    both.write_bytes(ca.read_bytes() + key.read_bytes())
    return both


class Daemon:
    """The daemon's side. `applied` has every change that was brought into force."""

    def __init__(self, folder: pathlib.Path, uid: int = 0, patience: float = 5.0) -> None:
        self.applied: list[services.TableChange] = []
        self.socket = folder / "agent.sock"
        self.snapshot = folder / "lib/services"
        self.receiver = receiver.Receiver(
            table_store.Snapshot(self.snapshot), self.applied.append, uid=uid, patience=patience
        )

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        async with self.receiver.serving(self.socket, background.Background()):
            yield

    def backends(self) -> dict[str, list[str]]:
        return {
            frontend.address: [each.address for each in service.backends]
            for frontend, service in self.receiver.table.items()
        }


class PolicyDaemon:
    """The same of policies, in an event loop. `heard` has whom the changes concerned, as one hears who follows them."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.where = reception.PolicyPlaces(folder / "policies.sock", folder / "lib/policies", uid=0)
        self.held = tables.PolicyTables()
        self.heard: list[frozenset[Place]] = []

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        async with (
            reception.made(self.where, self.held).serving(self.where.socket, background.Background()),
            followed(self.held, self.heard),
        ):
            yield


@contextlib.asynccontextmanager
async def followed(held: tables.PolicyTables, heard: list[frozenset[Place]]) -> AsyncIterator[None]:
    """Note whom each change of the table concerns."""

    async def follow() -> None:
        before = policies.PolicyTable()
        while True:
            await held.changed()
            now = held.table or policies.PolicyTable()
            heard.append(policy_changes.concerned(now, policy_changes.difference(before, now)))
            before = now

    following = asyncio.create_task(follow())
    try:
        yield
    finally:
        following.cancel()
