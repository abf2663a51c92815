"""Hostile input through the real server: one JSON answer with the right status, soon, and nothing changed. C2, C3, C4,
C9, C10, C12, C18, F48, F49, F50: whatever environment and stdin say.
"""

import asyncio
import collections
import json
import pathlib
import resource
import socket
from collections.abc import Iterator

import hypothesis
import pytest

from sriov.state import ledger
from sriov_cni import server
from sriov_cni.context import calls
from sriov_cni.shim import wire
from tests.fakes import bench
from tests.fuzz import hostile, profiles
from tests.sriov_cni import harness
from tests.sriov_cni.shim import shims

SILENT = {"DEL", "CHECK", "GC", "STATUS"}
SECONDS = 20  # on a machine that has other things to do
MEGABYTES = 300
DEVICE = "0000:01:10.0"


class Victim:
    """A node with a server, in one event loop, and a shim that is only a few lines."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.bench = bench.make(folder)
        self.folder = folder
        self.codes: collections.Counter[str] = collections.Counter()
        self._runner = asyncio.Runner()
        self._stop = asyncio.Event()
        self._path = folder / "run/cni.sock"
        daemon = calls.Daemon(self.bench.node, self.bench.book)
        serving = server.Server(daemon, self.bench.machine.adopt).serve(self._path, self._stop)
        self._serving = self._runner.get_loop().create_task(serving)
        self._runner.run(asyncio.sleep(0.05))
        self.before = self.state()

    def close(self) -> None:
        self._stop.set()
        self._runner.run(asyncio.wait_for(self._serving, 10))
        self._runner.close()
        self.bench.pod.close()
        self.bench.machine.close()

    def state(self) -> object:
        files = sorted(str(path) for path in self.folder.rglob("*") if "sys" not in path.parts)
        return self.bench.machine.snapshot(), files, list(ledger.Ledger(self.folder / "run").records())

    def call(self, env: dict[str, str], stdin: bytes) -> tuple[int, bytes]:
        return self._runner.run(asyncio.wait_for(self._call(env, stdin), SECONDS))

    async def _call(self, env: dict[str, str], stdin: bytes) -> tuple[int, bytes]:
        variables = "\0".join(f"CNI_{key}={value}" for key, value in env.items()).encode(errors="surrogatepass")
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(self._path))
        socket.send_fds(sock, [wire.frame(wire.ENVIRONMENT, variables)], [self.bench.pod.fd])
        reader, writer = await asyncio.open_unix_connection(sock=sock)
        try:
            writer.write(wire.frame(wire.STDIN, stdin))
            while (head := await reader.readexactly(wire.HEAD))[:1] == wire.IPAM:
                await reader.readexactly(int.from_bytes(head[1:], "big"))
                writer.write(wire.frame(wire.IPAM, bytes((wire.NO_PLUGIN,))))
            answer = await reader.readexactly(int.from_bytes(head[1:], "big"))
            writer.write(wire.frame(wire.DELIVERED, b"\1"))
            assert await reader.read() == b"", "more than one answer"
            return answer[0], answer[1:]
        finally:
            writer.close()
            await writer.wait_closed()


@pytest.fixture
def victim(folder: pathlib.Path) -> Iterator[Victim]:
    made = Victim(folder)
    yield made
    made.close()


def judge(command: str, status: int, stdout: bytes) -> str:
    """What the answer is, after the checks that every answer has to pass."""
    assert b"Traceback" not in stdout
    if status == 0:
        assert command in hostile.COMMANDS
        assert (stdout == b"") == (command in SILENT), stdout
        assert not stdout or isinstance(json.loads(stdout), dict)
        return f"{command} 0"
    document = json.loads(stdout)
    assert status == 1
    assert set(document) <= {"cniVersion", "code", "msg", "details"}
    assert isinstance(document["cniVersion"], str)
    assert isinstance(document["msg"], str)
    assert document["msg"]
    assert document["code"] in (1, 2, 4, 5, 6, 7, 8, 11, 101), document
    return f"error {document['code']}"


def test_whatever_comes_there_is_one_answer_and_nothing_changes(
    victim: Victim, capsys: pytest.CaptureFixture[str]
) -> None:
    @hypothesis.given(hostile.environments("/run/netns/pod"), hostile.documents(DEVICE))
    @profiles.examples(2_000, 20_000)
    def one(env: dict[str, str], stdin: bytes) -> None:
        said = judge(env["COMMAND"], *victim.call(env, stdin))
        victim.codes[said] += 1
        if said == "ADD 0":
            assert victim.call({**env, "COMMAND": "DEL"}, stdin) == (0, b"")
        assert victim.state() == victim.before

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    one()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEGABYTES * 1024
    with capsys.disabled():
        print(f"\n{victim.codes.total()} hostile calls: {dict(victim.codes.most_common())}")
    assert victim.codes.total() >= 2_000
    assert {"ADD 0", "DEL 0", "error 4", "error 6", "error 7"} <= set(victim.codes)


@pytest.mark.parametrize("shim", shims.ALL)
def test_the_corpus_through_the_shim(folder: pathlib.Path, shim: str) -> None:
    """About a hundred calls with a process each: what a runtime would see."""
    made = bench.make(folder)
    path = folder / "cni.sock"
    with harness.daemon(made.node, made.book, path, made.machine.adopt):
        client = harness.Client(path, "/opt/cni/bin", made.machine.path("pod"), shims.command(shim))
        before, calls_made = made.machine.snapshot(), 0
        for number, value in enumerate(each for each in hostile.STRINGS if "\0" not in each and each != "\ud800"):
            variable = hostile.VARIABLES[number % 3]
            for env, stdin in (
                ({variable: value}, hostile.document(DEVICE, vlan=4095)),
                ({}, hostile.document(value)),
            ):
                answer = client.call("ADD", stdin, **env)
                if answer.status == 0:
                    assert client.call("DEL", stdin).status == 0
                judge("ADD", answer.status, answer.stdout.encode())
                calls_made += 1
        for raw in hostile.RAW:
            answer = client.call("CHECK", raw)
            judge("CHECK", answer.status, answer.stdout.encode())
            calls_made += 1
        assert made.machine.snapshot() == before
        assert calls_made >= 100
    made.pod.close()
    made.machine.close()
