"""The shims, each: small, alone, and answering even where nobody else does."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from sriov_cni.shim import wire
from tests.sriov_cni import harness
from tests.sriov_cni.shim import shims

ASKED_FOR = {"_socket", "fcntl", "posix", "select", "sys"}
"""Modules of C that the shim imports; all others are those that a bare interpreter of that version loads."""


@pytest.mark.parametrize("python", sorted({sys.executable, "/usr/bin/python3"}))
def test_it_imports_nothing_beyond_the_list(python: str) -> None:
    if not pathlib.Path(python).exists():
        pytest.skip(f"no {python} on this machine")
    end = "posix._exit(main())"
    assert end in harness.SHIM.read_text()
    show = f"import sys; sys.argv=['shim']; exec(open({str(harness.SHIM)!r}).read().replace({end!r}, 'main'))"
    assert _loaded(python, show) <= _loaded(python, "import sys") | ASKED_FOR


def _loaded(python: str, code: str) -> set[str]:
    command = [python, "-IS", "-c", f"{code}; print(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


Shim = Sequence[str]


@pytest.fixture(params=shims.ALL)
def shim(request: pytest.FixtureRequest) -> Shim:
    """As a runtime executes it: Python's by its first line."""
    return (str(harness.SHIM),) if request.param == "python" else shims.command(request.param)


def run(shim: Shim, env: dict[str, str], stdin: bytes = b"{}") -> harness.Answer:
    done = subprocess.run(shim, input=stdin, capture_output=True, env=env, check=False, timeout=30)
    return harness.answer(done.returncode, done.stdout, done.stderr)


def test_an_absent_daemon_is_error_11(shim: Shim, tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / 'no "quotes"')
    answer = run(shim, {"SRIOV_CNI_SOCKET": path, "SRIOV_CNI_WAIT": "0.2", "CNI_COMMAND": "ADD"})
    assert answer.code == 11
    assert "No such file" in answer.message
    assert answer.stderr == ""


def test_c59_status_waits_for_no_daemon(shim: Shim, tmp_path: pathlib.Path) -> None:
    """The runtime gives STATUS two seconds, and would find out nothing else in that time."""
    took = time.monotonic()
    answer = run(shim, {"SRIOV_CNI_SOCKET": str(tmp_path / "s"), "SRIOV_CNI_WAIT": "10", "CNI_COMMAND": "STATUS"})
    took = time.monotonic() - took
    assert (answer.status, answer.code, took < 1) == (1, 50, True), (answer, took)
    assert "the sriov daemon does not answer" in answer.message


def test_c59_status_waits_a_second_for_a_daemon_that_is_silent(shim: Shim, tmp_path: pathlib.Path) -> None:
    """Systemd keeps the socket while the daemon is away, and a daemon may be stuck: nobody answers there."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        took = time.monotonic()
        answer = run(shim, {"SRIOV_CNI_SOCKET": str(tmp_path / "s"), "CNI_COMMAND": "STATUS"})
        took = time.monotonic() - took
    assert (answer.status, answer.code, took < 1.8) == (1, 50, True), (answer, took)
    assert "timed out" in answer.message


def test_f56_a_hostile_environment_changes_nothing(shim: Shim, tmp_path: pathlib.Path) -> None:
    (tmp_path / "select.py").write_text("raise SystemExit('hijacked')")
    env = {"PYTHONPATH": str(tmp_path), "PYTHONSTARTUP": "/dev/zero", "SRIOV_CNI_WAIT": "0"}
    done = subprocess.run(shim, input=b"{}", capture_output=True, env=env, cwd=tmp_path, check=False, timeout=30)
    assert json.loads(done.stdout)["code"] == 11


@contextlib.contextmanager
def daemon_that(path: pathlib.Path, replies: bytes) -> Iterator[list[bytes]]:
    """A daemon that takes one call, answers with these bytes, and closes."""
    heard: list[bytes] = []

    def serve() -> None:
        connection, _ = listening.accept()
        with connection, contextlib.suppress(ConnectionError):  # a shim that gives up reads no more
            heard.append(connection.recv(65536))
            connection.sendall(replies)
            connection.shutdown(socket.SHUT_WR)
            while data := connection.recv(65536):
                heard.append(data)

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        yield heard
        thread.join()


@pytest.mark.parametrize(
    "replies",
    [
        *(b"", b"A\0\0\0", wire.ipam_request("ADD", "nowhere")),
        *(wire.frame(wire.ANSWER, b""), b"A\xff\xff\xff\xff", b"A\0\x40\0\1", wire.frame(b"Z", b"\0{}")),
        *(wire.frame(wire.IPAM, b""), wire.frame(wire.IPAM, b"ADD"), wire.frame(wire.IPAM, b"ADD\0a\0b")),
        *(wire.frame(wire.IPAM, b"ADD\0a\0CNI_X=1"), wire.frame(wire.IPAM, b"ADD\0a\0CNI_X=1\0")),
        *(wire.frame(wire.IPAM, b"ADD\0a\0PATH=/\0\0{}"), wire.frame(wire.IPAM, b"ADD\0a\0CNI_X\0\0{}")),
        *(wire.frame(wire.IPAM, b"ADD\0\0CNI_X=1\0\0{}"), wire.frame(wire.IPAM, b"ADD\0a\0CNI_X=1\0b\0\0{}")),
    ],
)
def test_a_daemon_that_dies_in_the_middle_is_error_11(shim: Shim, tmp_path: pathlib.Path, replies: bytes) -> None:
    with daemon_that(tmp_path / "s", replies):
        answer = run(shim, {"SRIOV_CNI_SOCKET": str(tmp_path / "s"), "CNI_COMMAND": "ADD"})
    assert answer.code == 11


def test_the_daemons_answer_and_status_are_ours(shim: Shim, tmp_path: pathlib.Path) -> None:
    with daemon_that(tmp_path / "s", wire.answer(7, b"{}" * 100_000)):
        answer = run(shim, {"SRIOV_CNI_SOCKET": str(tmp_path / "s")})
    assert (answer.status, answer.stdout) == (7, "{}" * 100_000)


def test_it_sends_only_cni_variables_and_stdin_as_it_came(shim: Shim, tmp_path: pathlib.Path) -> None:
    with daemon_that(tmp_path / "s", wire.answer(0, b"")) as heard:
        run(shim, {"SRIOV_CNI_SOCKET": str(tmp_path / "s"), "CNI_X": "a=b", "SECRET": "1"}, b"\0\xffraw")
    call = wire.frame(wire.ENVIRONMENT, b"CNI_X=a=b") + wire.frame(wire.STDIN, b"\0\xffraw")
    assert b"".join(heard) == call + wire.frame(wire.DELIVERED, b"\1")


def test_a_fifo_as_namespace_does_not_block(shim: Shim, tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with daemon_that(tmp_path / "s", wire.answer(0, b"")):
        assert run(shim, {"SRIOV_CNI_SOCKET": str(tmp_path / "s"), "CNI_NETNS": str(tmp_path / "fifo")}).status == 0


def test_closed_stdout_is_an_error_and_no_traceback(shim: Shim, tmp_path: pathlib.Path) -> None:
    with daemon_that(tmp_path / "s", wire.answer(0, b"x")) as heard:
        env = {"SRIOV_CNI_SOCKET": str(tmp_path / "s")}
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(shim, input=b"", stdout=writer, stderr=subprocess.PIPE, env=env, check=False, timeout=30)
        os.close(writer)
    assert done.returncode == 254
    assert done.stderr == b""
    assert b"".join(heard).endswith(wire.frame(wire.DELIVERED, b"\0"))


def test_an_ipam_plugin_does_not_outlive_its_shim(shim: Shim, tmp_path: pathlib.Path) -> None:
    harness.ipam_plugin(tmp_path, "endless", 'echo $$ > "$0.pid"; exec sleep 60')
    env = {"SRIOV_CNI_SOCKET": str(tmp_path / "s"), "CNI_PATH": str(tmp_path), "PATH": os.environ["PATH"]}
    with daemon_that(tmp_path / "s", wire.ipam_request("ADD", "endless")):
        with subprocess.Popen(shim, stdin=subprocess.DEVNULL, env=env) as process:
            plugin = int(_eventually(lambda: (tmp_path / "endless.pid").read_text().strip()))
            assert _state(plugin) in "SDR"
            process.kill()
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
def test_a_wait_that_is_no_number_is_the_usual_one(shim: Shim, tmp_path: pathlib.Path, wait: str) -> None:
    with daemon_that(tmp_path / "s", wire.answer(0, b"{}")):
        assert run(shim, {"SRIOV_CNI_SOCKET": str(tmp_path / "s"), "SRIOV_CNI_WAIT": wait}).status == 0


def test_an_ipam_plugin_that_cannot_be_started_says_so(shim: Shim, tmp_path: pathlib.Path) -> None:
    (tmp_path / "plain").write_text("no program")
    env = {"SRIOV_CNI_SOCKET": str(tmp_path / "s"), "CNI_PATH": str(tmp_path)}
    with daemon_that(tmp_path / "s", wire.ipam_request("ADD", "plain") + wire.answer(0, b"")) as heard:
        run(shim, env)
    assert b"Permission denied" in b"".join(heard)


def test_c82_an_ipam_plugin_that_is_being_replaced_is_waited_for(shim: Shim, tmp_path: pathlib.Path) -> None:
    plugin = tmp_path / "busy"
    plugin.write_bytes(pathlib.Path("/bin/true").read_bytes())
    plugin.chmod(0o755)
    env = {"SRIOV_CNI_SOCKET": str(tmp_path / "s"), "CNI_PATH": str(tmp_path)}
    call = wire.ipam_request("ADD", "busy") + wire.answer(0, b"")
    with contextlib.ExitStack() as stack:
        writing = stack.enter_context(plugin.open("r+b"))
        heard = stack.enter_context(daemon_that(tmp_path / "s", call))
        process = stack.enter_context(subprocess.Popen(shim, stdin=subprocess.DEVNULL, env=env))
        time.sleep(0.3)
        writing.close()
        assert process.wait(timeout=20) == 0
    assert wire.frame(wire.IPAM, b"\0") in b"".join(heard)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_not_taken_for_the_daemons_socket(shim: Shim, tmp_path: pathlib.Path, closed: str) -> None:
    env = {"SRIOV_CNI_SOCKET": str(tmp_path / "s"), "CNI_X": "1"}
    with daemon_that(tmp_path / "s", wire.answer(0, b"the answer")) as heard:
        done = subprocess.run(
            ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", *shim], input=b"{}", env=env, check=False, timeout=30
        )
    unread = ">&-" in closed.replace("2>&-", "")
    assert done.returncode == (254 if unread else 0)
    stdin = b"" if "<&-" in closed else b"{}"
    call = wire.frame(wire.ENVIRONMENT, b"CNI_X=1") + wire.frame(wire.STDIN, stdin)
    assert b"".join(heard) == call + wire.frame(wire.DELIVERED, b"\0" if unread else b"\1")


def test_of_two_variables_with_one_name_the_first_counts(shim: Shim, tmp_path: pathlib.Path) -> None:
    """As for the shim itself (getenv(3)). os.execve takes a mapping, so it is one whose keys come twice."""
    env = _Twice({"CNI_NETNS": "/first", "SRIOV_CNI_SOCKET": str(tmp_path / "s")}, "CNI_NETNS", "/second")
    with daemon_that(tmp_path / "s", wire.answer(0, b"")) as heard:
        child = os.posix_spawn(shim[0], list(shim), env)
        assert os.waitpid(child, 0)[1] == 0
    length = int.from_bytes(heard[0][1:5], "big")
    assert wire.environment(heard[0][5 : 5 + length]) == {"CNI_NETNS": "/first"}


class _Twice(dict[str, str]):
    """A mapping with one more item, of a key that it has."""

    def __init__(self, usual: dict[str, str], key: str, value: str) -> None:
        super().__init__(usual)
        self._key, self._value = key, value

    def __len__(self) -> int:
        return super().__len__() + 1

    def keys(self) -> Any:
        return [*super().keys(), self._key]

    def values(self) -> Any:
        return [*super().values(), self._value]


def test_an_ipam_plugin_has_our_environment_stdin_and_stderr(shim: Shim, tmp_path: pathlib.Path) -> None:
    script = 'echo "$CNI_COMMAND $CNI_X $SECRET"; echo loud >&2; kill -PIPE $$; exit 3'
    harness.ipam_plugin(tmp_path, "p", script)
    env = {"SRIOV_CNI_SOCKET": str(tmp_path / "s"), "CNI_PATH": f"nowhere:/dev:{tmp_path}", "PATH": os.environ["PATH"]}
    env |= {"CNI_COMMAND": "CHECK", "CNI_X": "a b", "SECRET": "1"}
    with daemon_that(tmp_path / "s", wire.ipam_request("DEL", "p") + wire.answer(0, b"")) as heard:
        answer = run(shim, env, b"\0\xff" * 40_000)
    outcome = wire.frame(wire.IPAM, b"\xffDEL a b 1\n")  # SIGPIPE has ended it, as it ends any program
    assert b"".join(heard).endswith(outcome + wire.frame(wire.DELIVERED, b"\1"))
    assert (answer.status, answer.stderr) == (0, "loud\n")
    assert (tmp_path / "p.stdin").read_bytes() == b"\0\xff" * 40_000


def test_an_ipam_plugin_has_variables_and_stdin_of_its_own_in_that_run_alone(
    shim: Shim, tmp_path: pathlib.Path
) -> None:
    harness.ipam_plugin(
        tmp_path, "p", 'echo "$CNI_COMMAND $CNI_IFNAME $CNI_NEW $CNI_X"; cat "$0.stdin"; env | grep -c IFNAME'
    )
    env = {"SRIOV_CNI_SOCKET": str(tmp_path / "s"), "CNI_PATH": str(tmp_path), "PATH": os.environ["PATH"]}
    env |= {"CNI_COMMAND": "ADD", "CNI_IFNAME": "eth0", "CNI_X": "a b"}
    own = wire.OwnCall({"CNI_IFNAME": "net1", "CNI_NEW": "c=d"}, b"own\0\xff\n")
    none = wire.OwnCall({}, b"")
    calls = wire.ipam_request("DEL", "p", own) + wire.ipam_request("ADD", "p") + wire.ipam_request("ADD", "p", none)
    with daemon_that(tmp_path / "s", calls + wire.answer(0, b"")) as heard:
        run(shim, env, b"usual\n")
    said = (b"DEL net1 c=d a b\nown\0\xff\n1\n", b"ADD eth0  a b\nusual\n1\n", b"ADD eth0  a b\n1\n")
    outcomes = b"".join(wire.frame(wire.IPAM, b"\0" + each) for each in said)
    assert b"".join(heard).endswith(outcomes + wire.frame(wire.DELIVERED, b"\1"))


def test_an_ipam_plugin_has_as_much_stdin_of_its_own_as_the_runtime_may_give(
    shim: Shim, tmp_path: pathlib.Path
) -> None:
    harness.ipam_plugin(tmp_path, "p", "")
    env = {"SRIOV_CNI_SOCKET": str(tmp_path / "s"), "CNI_PATH": str(tmp_path), "PATH": os.environ["PATH"]}
    own = wire.OwnCall({"CNI_IFNAME": "net1"}, b"x" * wire.STDIN_LIMIT)
    with daemon_that(tmp_path / "s", wire.ipam_request("ADD", "p", own) + wire.answer(0, b"")):
        assert run(shim, env, b"usual\n").status == 0
    assert (tmp_path / "p.stdin").read_bytes() == own.stdin


def test_an_ipam_plugin_inherits_its_streams_and_the_lifeline(shim: Shim, tmp_path: pathlib.Path) -> None:
    harness.ipam_plugin(tmp_path, "p", "exec ls /proc/self/fd")
    env = {"SRIOV_CNI_SOCKET": str(tmp_path / "s"), "CNI_PATH": str(tmp_path), "PATH": os.environ["PATH"]}
    env |= {"CNI_NETNS": "/proc/self/ns/net"}
    with daemon_that(tmp_path / "s", wire.ipam_request("ADD", "p") + wire.answer(0, b"")) as heard:
        run(shim, env)
    said = b"".join(heard).partition(wire.frame(wire.IPAM, b"")[:1] + b"\0\0\0")[2]
    assert said.rpartition(wire.DELIVERED)[0][2:].split() == [b"0", b"1", b"13", b"2", b"3"], "3 is ls' own"


def test_what_an_ipam_plugin_leaves_running_is_let_go_and_what_it_started_ends_with_us(
    shim: Shim, tmp_path: pathlib.Path
) -> None:
    """The first plugin ends in peace; the second is killed with its child."""
    leave = 'sleep 60 >/dev/null 2>&1 & echo $! > "$0.pid"'
    harness.ipam_plugin(tmp_path, "leaves", leave)
    harness.ipam_plugin(tmp_path, "waits", f"{leave}; wait")
    env = {"SRIOV_CNI_SOCKET": str(tmp_path / "s"), "CNI_PATH": str(tmp_path), "PATH": os.environ["PATH"]}
    calls = wire.ipam_request("ADD", "leaves") + wire.ipam_request("DEL", "waits")
    with daemon_that(tmp_path / "s", calls), subprocess.Popen(shim, stdin=subprocess.DEVNULL, env=env) as process:
        with_us = int(_eventually(lambda: (tmp_path / "waits.pid").read_text().strip()))
        left = int((tmp_path / "leaves.pid").read_text())
        process.kill()
        process.wait()
        assert _eventually(lambda: _state(with_us) in "ZX")
        assert _state(left) in "SDR"
        os.kill(left, signal.SIGKILL)


def test_an_ipam_plugin_that_says_too_much_is_cut_off(shim: Shim, tmp_path: pathlib.Path) -> None:
    """One byte more than the daemon takes, so that it refuses it."""
    harness.ipam_plugin(tmp_path, "loud", "exec cat /dev/zero")
    env = {"SRIOV_CNI_SOCKET": str(tmp_path / "s"), "CNI_PATH": str(tmp_path), "PATH": os.environ["PATH"]}
    with daemon_that(tmp_path / "s", wire.ipam_request("ADD", "loud") + wire.answer(0, b"")) as heard:
        run(shim, env)
    head = wire.IPAM + (wire.LONGEST + 1).to_bytes(4, "big")
    assert head + b"\xff\0" in b"".join(heard)


@pytest.mark.parametrize("size", [0, 1, wire.STDIN_LIMIT, wire.STDIN_LIMIT + 1, wire.STDIN_LIMIT + 100_000])
def test_stdin_is_sent_up_to_a_byte_beyond_the_limit(shim: Shim, tmp_path: pathlib.Path, size: int) -> None:
    with daemon_that(tmp_path / "s", wire.answer(0, b"")) as heard:
        run(shim, {"SRIOV_CNI_SOCKET": str(tmp_path / "s")}, b"x" * size)
    sent = b"x" * min(size, wire.STDIN_LIMIT + 1)
    call = wire.frame(wire.ENVIRONMENT, b"") + wire.frame(wire.STDIN, sent)
    assert b"".join(heard) == call + wire.frame(wire.DELIVERED, b"\1")


def test_a_path_that_is_no_sockets_is_error_11(shim: Shim, tmp_path: pathlib.Path) -> None:
    for path, says in (("x" * 108, "path too long"), (str(tmp_path), "Connection refused"), ("", "")):
        answer = run(shim, {"SRIOV_CNI_SOCKET": path, "SRIOV_CNI_WAIT": "0"})
        assert (answer.code, says in answer.message) == (11, True), answer


def test_c83_endless_folders_on_cni_path_are_passed_over(shim: Shim, tmp_path: pathlib.Path) -> None:
    harness.ipam_plugin(tmp_path, "p", "echo found")
    env = {"SRIOV_CNI_SOCKET": str(tmp_path / "s"), "PATH": os.environ["PATH"]}
    env |= {"CNI_PATH": f":/{'x' * 5000}:::/{'y' * 4094}:{tmp_path}:/x"}
    with daemon_that(tmp_path / "s", wire.ipam_request("ADD", "p") + wire.answer(0, b"")) as heard:
        run(shim, env)
    assert wire.frame(wire.IPAM, b"\0found\n") in b"".join(heard)
