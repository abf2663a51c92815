"""`hack/lab` itself: boots that end as they should, one with much memory, one that is interrupted."""

from __future__ import annotations

import contextlib
import http.server
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.examples import table

LAB = Path(__file__).parents[2] / "hack" / "lab"
pytestmark = pytest.mark.lab


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """All temporary files in one folder, which must be empty in the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    yield {**os.environ, "TMPDIR": str(folder), "FORCE_COLOR": "1"}
    assert list(folder.iterdir()) == []


def available(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode == os.EX_UNAVAILABLE and os.environ.get("CI") != "true":
        pytest.skip(done.stderr.splitlines()[-1])


def guests_of(folder: str) -> list[int]:
    """The processes whose command lines name files in `folder`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if folder.encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


def test_vfs_have_a_link_beside_memory_above_four_gigabytes(environment: dict[str, str]) -> None:
    """SeaBIOS would move the cards' memory to where their VFs do not reach it."""
    script = """
for pci in 0000:01:10.0 0000:02:11.4; do
    name=$(ls /sys/bus/pci/devices/$pci/net)
    ip link set "$name" up
    timeout 20 sh -c "until grep -q 1 /sys/class/net/$name/carrier; do sleep 0.2; done" && echo "$pci has a link"
done
free -g | awk '/^Mem:/ { print $2 }'
"""
    command = [str(LAB), "run", "--quiet", "--memory", "5G", "--", "sh", "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    available(done)
    assert done.stdout.splitlines() == ["0000:01:10.0 has a link", "0000:02:11.4 has a link", "4"], done.stderr


def test_a_guest_with_a_network_reaches_this_machine_and_does_not_offer_its_card(environment: dict[str, str]) -> None:
    [example] = table.run_by(__file__, "test_a_guest_with_a_network_reaches_this_machine_and_does_not_offer_its_card")
    words = shlex.split(example.command)
    before, command = words[: words.index("--")], words[words.index("--") + 1 :]
    with _served("from this machine") as port:
        script = f"""
{shlex.join(command)}
cat /etc/resolv.conf
{sys.executable} -c 'import urllib.request as web; print(web.urlopen("http://10.0.2.2:{port}/").read().decode())'
echo '{{"resourceList": [{{"resourceName": "outside", "selectors": {{"vendors": ["1af4"]}}}}]}}' >/run/config.json
{sys.executable} -P -m deviceplugin --dry-run --config /run/config.json
"""
        done = subprocess.run(
            [LAB, *before[1:], "--quiet", "--env", f"PYTHONPATH={LAB.parents[1]}", "--", "sh", "-c", script],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
    available(done)
    route, name_server, fetched, *offered = done.stdout.splitlines() or [done.stderr]
    assert route.split() == ["default", "via", "10.0.2.2", "dev", "outside"]
    assert (name_server, fetched) == ("nameserver 10.0.2.3", "from this machine")
    assert any("default route" in line for line in offered), done.stderr


@contextlib.contextmanager
def _served(text: str) -> Iterator[int]:
    """Answer HTTP requests with the text at 127.0.0.1; yields the port."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_a_size_of_memory_that_cannot_work_is_refused_before_anything_is_done() -> None:
    done = subprocess.run([LAB, "run", "--memory", "40G", "--", "true"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "argument --memory: 40G is not between 1G and 24G, the sizes that work" in done.stderr


def test_a_command_runs_and_its_output_files_and_status_come_home(tmp_path: Path, environment: dict[str, str]) -> None:
    """The page's first command is the second without its flags, and whatever command there is."""
    general, example = table.run_by(__file__, "test_a_command_runs_and_its_output_files_and_status_come_home")
    assert (general.command, example.command.count(" -- ")) == ("hack/lab run -- COMMAND", 1)
    [_, *flags], [*words, links] = map(shlex.split, example.command.split(" -- "))
    script = f'{links}; echo output; echo error >&2; echo "$SRIOV_LAB $FORCE_COLOR" >"$LAB_OUT/file"; kill -9 $$'
    done = subprocess.run(
        [LAB, *flags, "--quiet", "--numvfs", "0", "--console", "console", "--", *words, script],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    available(done)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGKILL, "output\nerror\n", "")
    assert (tmp_path / "results/file").read_text() == "guest 1\n"
    assert (tmp_path / "results/links").read_text().count("52:54:00:00:00:") == 2
    assert (tmp_path / "console").stat().st_size > 0


def test_the_folder_for_files_may_be_in_memory(environment: dict[str, str]) -> None:
    """The guest has a /dev of its own."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        done = subprocess.run(
            [LAB, "run", "--quiet", "--numvfs", "0", "--out", folder, "--", "sh", "-c", 'echo seen >"$LAB_OUT/file"'],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        available(done)
        assert (done.returncode, Path(folder, "file").read_text()) == (0, "seen\n"), done


def test_a_guest_that_stands_still_is_ended(environment: dict[str, str]) -> None:
    """QEMU is told to stop it, so neither its clock nor its kernel goes on. The lab's own limit would be minutes."""
    run = """
import pathlib, sys
from hack.guest import __main__, boot, errors, jobs, progress
from hack.guest.downloads import cache
frozen = "from tests.lab import qemu\\nwith qemu.monitor() as monitor: monitor.do('stop')"
job = jobs.Job([sys.executable, "-c", frozen], __main__.PROJECT, {}, numvfs=0)
shown = progress.Progress(sys.stderr, quiet=True)
try:
    with cache.borrowed(cache.default(), shown) as have:
        boot.run(have, job, boot.Limits(standstill=25.0), print, shown)
except errors.LabError as error:
    print(type(error).__name__, str(error).splitlines()[0])
"""
    done = subprocess.run(
        [sys.executable, "-c", run], cwd=LAB.parents[1], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "StoodStillError the guest stood still: no sign of life for 25 s; its last words:\n", (
        done.stderr
    )


def test_an_emulator_that_ends_at_boot_is_started_again_and_an_interrupted_one_leaves_nothing_behind(
    environment: dict[str, str],
) -> None:
    started = subprocess.Popen([LAB, "run", "--", "true"], env=environment, stderr=subprocess.PIPE, text=True)
    with started:
        first = booting(started, environment["TMPDIR"])
        for guest in first:
            os.kill(guest, signal.SIGKILL)
        second = booting(started, environment["TMPDIR"], other_than=first)
        started.terminate()
        _, said = started.communicate()
    available(subprocess.CompletedProcess([], started.returncode, stderr=said))
    assert first
    assert second
    assert "lab: the guest stopped before the command had started; its last words:; once more\n" in said
    assert started.returncode == 128 + signal.SIGTERM
    assert guests_of(environment["TMPDIR"]) == []


def booting(lab: subprocess.Popen[str], folder: str, other_than: Sequence[int] = ()) -> list[int]:
    """Wait for the lab's guest, or for its end."""
    deadline = time.monotonic() + 300  # the cache may have to be filled
    found: list[int] = []
    while lab.poll() is None and not found:
        assert time.monotonic() < deadline
        time.sleep(0.1)
        found = [guest for guest in guests_of(folder) if guest not in other_than]
    return found


def test_the_cache_is_filled_or_verified(environment: dict[str, str]) -> None:
    [example] = table.run_by(__file__, "test_the_cache_is_filled_or_verified")
    command = [str(LAB), *example.command.split()[1:]]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    available(done)
    assert (done.returncode, "QEMU and Linux " in done.stdout) == (0, True), done.stderr


def test_the_cache_is_emptied(tmp_path: Path, environment: dict[str, str]) -> None:
    """Another than the one that the tests have."""
    [example] = table.run_by(__file__, "test_the_cache_is_emptied")
    cache = tmp_path / "cache/sriov-underlay/lab"
    (cache / "parts/root").mkdir(parents=True)
    command = [str(LAB), *example.command.split()[1:]]
    subprocess.run(command, env=environment | {"XDG_CACHE_HOME": str(tmp_path / "cache")}, check=True)
    assert [path for path in cache.iterdir() if path.is_dir()] == []


def test_a_user_who_is_not_root_is_told_so() -> None:
    if os.geteuid() != 0:
        pytest.skip("becomes another user")
    script = "import os, sys; from hack.guest import __main__ as m; os.setuid(65534); sys.exit(m.main(sys.argv[1:]))"
    done = subprocess.run(
        ["python3", "-c", script, "run", "--cache", "/nowhere", "--", "true"],
        cwd=LAB.parents[1], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (os.EX_UNAVAILABLE, 1)
    assert "only root" in done.stderr
