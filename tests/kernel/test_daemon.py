"""The daemon as a process of its own, on this machine's kernel (root)."""

import contextlib
import os
import pathlib
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.kernel import namespaces
from tests.sriov_cni import harness

pytestmark = pytest.mark.root
PROJECT = pathlib.Path(__file__).parents[2]


@contextlib.contextmanager
def daemon(run_dir: pathlib.Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "sriov_cni", "--run-dir", str(run_dir)]
    with subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def ready(process: subprocess.Popen[str], path: pathlib.Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_serves_ends_on_sigterm_and_leaves_no_socket(tmp_path: pathlib.Path) -> None:
    with daemon(tmp_path / "run") as process, namespaces.made("pod") as pod:
        path = tmp_path / "run/cni.sock"
        ready(process, path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "run/vfs").stat().st_mode) == 0o700
        client = harness.Client(path, "", pod.path)
        assert client.call("VERSION", {}).code == 0
        answer = client.call("ADD", harness.configuration("0000:ff:1f.7"))
        assert (answer.code, "there is no PCI device 0000:ff:1f.7" in answer.message) == (7, True)
        answer = client.call("ADD", harness.configuration("0000:ff:1f.7"), NETNS="/proc/self/ns/net")
        assert answer.code == 8, "its own namespace, by way of the shim's"
        assert client.call("DEL", harness.configuration("0000:ff:1f.7")).code == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
        assert not path.exists()


def test_its_debug_log_is_its_own(tmp_path: pathlib.Path) -> None:
    """Steps of a call, and not each netlink message, of which one is longer than all the rest."""
    command = [sys.executable, "-m", "sriov_cni", "--run-dir", str(tmp_path / "run"), "--log-level", "debug"]
    with subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.PIPE, text=True) as process:
        ready(process, tmp_path / "run/cni.sock")
        network = {"cniVersion": "1.1.0", "name": "n1", "type": "sriov"}
        assert harness.Client(tmp_path / "run/cni.sock", "", "").call("STATUS", network).code == 0
        process.terminate()
        log = process.communicate(timeout=10)[1]
    assert "took" in log
    assert "IFLA_IFNAME" not in log


def test_f54_another_user_is_refused(tmp_path: pathlib.Path) -> None:
    """Permissions keep others out; where somebody opened them, the uid on the socket does."""
    with daemon(tmp_path / "run") as process:
        path = tmp_path / "run/cni.sock"
        ready(process, path)
        path.chmod(0o777)
        for folder in (tmp_path, *tmp_path.parents[:3], tmp_path / "run"):
            folder.chmod(folder.stat().st_mode | 0o011)
        child = os.fork()
        if child == 0:
            os.setuid(65534)
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(10)
                client.connect(str(path))
                os._exit(0 if client.recv(1) == b"" else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        process.terminate()
        assert "refused a call of uid 65534" in (process.communicate()[1])


def test_an_unusable_run_directory_is_one_clear_line(tmp_path: pathlib.Path) -> None:
    (tmp_path / "run").write_text("in the way")
    done = subprocess.run(
        [sys.executable, "-m", "sriov_cni", "--run-dir", str(tmp_path / "run")],
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "cannot use the ledger" in done.stderr
    assert "Traceback" not in done.stderr
