"""The shim: small, alone, and answering even where nobody else does."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sriov_cni import wire
from tests.sriov_cni import harness

# What a bare interpreter brings, and the modules that the shim asks for: `_socket`, `fcntl`, `posix`, `select`.
ALLOWED = {
    *("__main__", "_abc", "_codecs", "_frozen_importlib", "_frozen_importlib_external", "_imp", "_io", "_signal"),
    *("_socket", "_thread", "_warnings", "_weakref", "abc", "builtins", "codecs", "encodings", "encodings.aliases"),
    *("encodings.utf_8", "fcntl", "io", "marshal", "posix", "select", "sys", "time", "zipimport"),
}


@pytest.mark.parametrize("python", sorted({sys.executable, "/usr/bin/python3"}))
def test_it_imports_nothing_beyond_the_list(python: str) -> None:
    if not pathlib.Path(python).exists():
        pytest.skip(f"no {python} on this machine")
    show = (
        f"import sys; sys.argv=['shim']; exec(open({str(harness.SHIM)!r}).read().replace('sys.exit(main())', 'pass'))"
    )
    done = subprocess.run(
        [python, "-IS", "-c", f"{show}; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) <= ALLOWED


def run(env: dict[str, str], stdin: bytes = b"{}") -> harness.Answer:
    done = subprocess.run([str(harness.SHIM)], input=stdin, capture_output=True, env=env, check=False, timeout=30)
    return harness.Answer(done.returncode, done.stdout.decode(), done.stderr.decode())


def test_an_absent_daemon_is_error_11(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / 'no "quotes"')
    answer = run({"SRIOV_CNI_SOCKET": path, "SRIOV_CNI_WAIT": "0.2", "CNI_COMMAND": "ADD"})
    assert answer.code == 11
    assert "No such file" in answer.message
    assert answer.stderr == ""


def test_f56_a_hostile_environment_changes_nothing(tmp_path: pathlib.Path) -> None:
    (tmp_path / "select.py").write_text("raise SystemExit('hijacked')")
    env = {"PYTHONPATH": str(tmp_path), "PYTHONSTARTUP": "/dev/zero", "SRIOV_CNI_WAIT": "0"}
    done = subprocess.run(
        [str(harness.SHIM)], input=b"{}", capture_output=True, env=env, cwd=tmp_path, check=False, timeout=30
    )
    assert json.loads(done.stdout)["code"] == 11


@contextlib.contextmanager
def daemon_that(path: pathlib.Path, replies: bytes) -> Iterator[list[bytes]]:
    """A daemon that takes one call, answers with these bytes, and closes."""
    heard: list[bytes] = []

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            heard.append(connection.recv(65536))
            connection.sendall(replies)
            connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                while data := connection.recv(65536):
                    heard.append(data)

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        yield heard
        thread.join()


@pytest.mark.parametrize("replies", [b"", b"A\0\0\0", wire.ipam_request("ADD", "nowhere")])
def test_a_daemon_that_dies_in_the_middle_is_error_11(tmp_path: pathlib.Path, replies: bytes) -> None:
    with daemon_that(tmp_path / "s", replies):
        answer = run({"SRIOV_CNI_SOCKET": str(tmp_path / "s"), "CNI_COMMAND": "ADD"})
    assert answer.code == 11


def test_the_daemons_answer_and_status_are_ours(tmp_path: pathlib.Path) -> None:
    with daemon_that(tmp_path / "s", wire.answer(7, b"{}" * 100_000)):
        answer = run({"SRIOV_CNI_SOCKET": str(tmp_path / "s")})
    assert (answer.status, answer.stdout) == (7, "{}" * 100_000)


def test_it_sends_only_cni_variables_and_stdin_as_it_came(tmp_path: pathlib.Path) -> None:
    with daemon_that(tmp_path / "s", wire.answer(0, b"")) as heard:
        run({"SRIOV_CNI_SOCKET": str(tmp_path / "s"), "CNI_X": "a=b", "SECRET": "1"}, b"\0\xffraw")
    call = wire.frame(wire.ENVIRONMENT, b"CNI_X=a=b") + wire.frame(wire.STDIN, b"\0\xffraw")
    assert b"".join(heard) == call + wire.frame(wire.DELIVERED, b"\1")


def test_a_fifo_as_namespace_does_not_block(tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with daemon_that(tmp_path / "s", wire.answer(0, b"")):
        assert run({"SRIOV_CNI_SOCKET": str(tmp_path / "s"), "CNI_NETNS": str(tmp_path / "fifo")}).status == 0


def test_closed_stdout_is_an_error_and_no_traceback(tmp_path: pathlib.Path) -> None:
    with daemon_that(tmp_path / "s", wire.answer(0, b"x")) as heard:
        env = {"SRIOV_CNI_SOCKET": str(tmp_path / "s")}
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            [str(harness.SHIM)], input=b"", stdout=writer, stderr=subprocess.PIPE, env=env, check=False, timeout=30
        )
        os.close(writer)
    assert done.returncode == 254
    assert done.stderr == b""
    assert b"".join(heard).endswith(wire.frame(wire.DELIVERED, b"\0"))


def test_an_ipam_plugin_does_not_outlive_its_shim(tmp_path: pathlib.Path) -> None:
    harness.ipam_plugin(tmp_path, "endless", 'echo $$ > "$0.pid"; exec sleep 60')
    env = {"SRIOV_CNI_SOCKET": str(tmp_path / "s"), "CNI_PATH": str(tmp_path), "PATH": os.environ["PATH"]}
    with daemon_that(tmp_path / "s", wire.ipam_request("ADD", "endless")):
        with subprocess.Popen([str(harness.SHIM)], stdin=subprocess.DEVNULL, env=env) as shim:
            plugin = int(_eventually(lambda: (tmp_path / "endless.pid").read_text().strip()))
            assert _state(plugin) in "SDR"
            shim.kill()
        assert _eventually(lambda: _state(plugin) in "ZX")


def _state(pid: int) -> str:
    """The process' state letter; X where it is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "X"


def _eventually(probe: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):
            if found := probe():
                return found
        time.sleep(0.02)
    raise AssertionError("it did not happen within 10 s")


@pytest.mark.parametrize("wait", ["abc", "nan", "-1", ""])
def test_a_wait_that_is_no_number_is_the_usual_one(tmp_path: pathlib.Path, wait: str) -> None:
    with daemon_that(tmp_path / "s", wire.answer(0, b"{}")):
        assert run({"SRIOV_CNI_SOCKET": str(tmp_path / "s"), "SRIOV_CNI_WAIT": wait}).status == 0


def test_an_ipam_plugin_that_cannot_be_started_says_so(tmp_path: pathlib.Path) -> None:
    (tmp_path / "plain").write_text("no program")
    env = {"SRIOV_CNI_SOCKET": str(tmp_path / "s"), "CNI_PATH": str(tmp_path)}
    with daemon_that(tmp_path / "s", wire.ipam_request("ADD", "plain") + wire.answer(0, b"")) as heard:
        run(env)
    assert b"Permission denied" in b"".join(heard)


def test_c82_an_ipam_plugin_that_is_being_replaced_is_waited_for(tmp_path: pathlib.Path) -> None:
    plugin = tmp_path / "busy"
    plugin.write_bytes(pathlib.Path("/bin/true").read_bytes())
    plugin.chmod(0o755)
    env = {"SRIOV_CNI_SOCKET": str(tmp_path / "s"), "CNI_PATH": str(tmp_path)}
    call = wire.ipam_request("ADD", "busy") + wire.answer(0, b"")
    with contextlib.ExitStack() as stack:
        writing = stack.enter_context(plugin.open("r+b"))
        heard = stack.enter_context(daemon_that(tmp_path / "s", call))
        shim = stack.enter_context(subprocess.Popen([str(harness.SHIM)], stdin=subprocess.DEVNULL, env=env))
        time.sleep(0.3)
        writing.close()
        assert shim.wait(timeout=20) == 0
    assert wire.frame(wire.IPAM, b"\0") in b"".join(heard)
