"""The daemon's socket against clients that are no shim of ours."""

import contextlib
import json
import os
import pathlib
import socket
import stat
import subprocess
import time
from collections.abc import Callable

import pytest

from sriov_cni import server
from sriov_cni.shim import wire
from tests.sriov_cni import harness
from tests.sriov_cni.conftest import CniNode


def connected(cni: CniNode) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    client.connect(str(cni.client.socket))
    return client


def test_f54_the_socket_is_its_owners_alone(cni: CniNode) -> None:
    assert stat.S_IMODE(cni.client.socket.stat().st_mode) == 0o600


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\n\r\n", b"E\xff\xff\xff\xff", wire.frame(wire.STDIN, b"{}")])
def test_a_stranger_is_hung_up_on_and_the_next_call_is_served(cni: CniNode, said: bytes) -> None:
    with connected(cni) as client:
        client.sendall(said)
        client.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(100) == b""
    assert cni.client.call("VERSION", {}).code == 0


def test_descriptors_beyond_the_namespace_are_closed(cni: CniNode) -> None:
    """The daemon, in this process, may have one more open for a moment: the least of some looks counts."""

    def descriptors() -> int:
        time.sleep(0.002)
        return len(list(pathlib.Path("/proc/self/fd").iterdir()))

    before = min(descriptors() for _ in range(50))
    with connected(cni) as client:
        spare = os.open("/dev/null", os.O_RDONLY)
        call = wire.frame(wire.ENVIRONMENT, b"CNI_COMMAND=VERSION") + wire.frame(wire.STDIN, b"{}")
        socket.send_fds(client, [call], [spare] * 4)
        os.close(spare)
        assert client.recv(1) == wire.ANSWER
    _until(lambda: descriptors() == before)


def test_a_runtime_that_does_not_wait_gets_its_vf_taken_back(cni: CniNode) -> None:
    """The shim is killed while the IPAM plugin works: what was attached is undone."""
    harness.ipam_plugin(cni.plugins, "slow", "sleep 1")
    before = cni.bench.machine.snapshot()
    env = {"SRIOV_CNI_SOCKET": str(cni.client.socket), "CNI_PATH": cni.client.cni_path, "CNI_NETNS": cni.client.netns}
    env |= {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "net1"}
    with subprocess.Popen(cni.client.shim, stdin=subprocess.PIPE, env=env) as shim:
        assert shim.stdin
        shim.stdin.write(json.dumps(cni.conf(ipam={"type": "slow"})).encode())
        shim.stdin.close()
        _until(lambda: harness.ipam_calls(cni.plugins, "slow") == ["ADD"])
        _until(lambda: cni.bench.book.read(cni.bench.vfs[0]) is not None)
        shim.kill()
    _until(lambda: cni.bench.book.read(cni.bench.vfs[0]) is None)
    assert cni.bench.machine.snapshot() == before


def test_a_socket_in_a_missing_folder_is_a_clear_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(Exception, match=r"cannot listen on .*No such file"):
        server.bind(tmp_path / "absent/cni.sock")


def test_a_successor_takes_the_name_over(tmp_path: pathlib.Path) -> None:
    first, second = server.bind(tmp_path / "s"), server.bind(tmp_path / "s")
    with first, second, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "s"))
        second.setblocking(True)
        second.settimeout(5)
        second.accept()[0].close()


def _until(true: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
