"""Both daemons at rest: their memory and how often they wake, on a built sysfs tree with 128 VFs, asked by nobody.

With `--beside CHECKOUT` another checkout's daemons, by its own libraries, rest at the same time on a tree of their own.
Memory is the proportional set size, which counts a page that processes share in parts; a wake-up is a thread that had
waited and goes on.
"""

import asyncio
import contextlib
import os
import pathlib
import re
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping

from hack.benchmark import figures
from hack.benchmark.kubelet import deviceplugin
from hack.guest import errors

SECONDS = 60
_SETTLED = 30  # seconds until what follows a start is over
_MB = 1024  # kB, of 2^20 bytes


def measure(
    beside: pathlib.Path | None = None, seconds: int = SECONDS, settled: int = _SETTLED
) -> list[figures.Figure]:
    """Measure this checkout's daemons and those of `beside`; needs root, as the CNI daemon does."""
    if os.geteuid() != 0:
        raise errors.LabError("the CNI daemon runs as root only; run hack/bench rest as root")
    checkouts = {"": deviceplugin.ROOT} | ({} if beside is None else {"before_": beside})
    return asyncio.run(_measure(checkouts, seconds, settled))


async def _measure(checkouts: Mapping[str, pathlib.Path], seconds: int, settled: int) -> list[figures.Figure]:
    memory = deviceplugin.MEMORY
    async with contextlib.AsyncExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)))
        running: dict[str, int] = {}
        for mark, checkout in checkouts.items():
            node = deviceplugin.Node(folder / f"node{len(running)}", deviceplugin.SMALL)
            started = await stack.enter_async_context(_daemons(node, checkout))
            running |= {f"{mark}{name}": pid for name, pid in started.items()}
        await asyncio.sleep(settled)
        before = {name: _wakeups(pid) for name, pid in running.items()}
        await asyncio.sleep(seconds)
        return [
            one
            for name, pid in running.items()
            for one in _figures(name, pid, (_wakeups(pid) - before[name]) / seconds)
        ]


def _figures(name: str, pid: int, wakeups: float) -> list[figures.Figure]:
    return [
        figures.Figure(f"{name}_pss_mb", _pss(pid)),
        figures.Figure(f"{name}_wakeups_per_s", wakeups, None, f"{_threads(pid)} threads"),
    ]


@contextlib.asynccontextmanager
async def _daemons(node: deviceplugin.Node, checkout: pathlib.Path) -> AsyncIterator[dict[str, int]]:
    """Run both as the DaemonSet does, with metrics; yields once the kubelet has every VF and the CNI daemon answers."""
    done = subprocess.run([checkout / "hack/venv"], stdout=subprocess.PIPE, text=True, check=True)
    python = done.stdout.strip()
    places = (f"--run-dir={node.root}/run", f"--sysfs={node.root}/sys", f"--predecessor-dir={node.root}/none")
    options = (f"--policy={node.root}/none", f"--http=unix:{node.root}/cni-http.sock", "--log-level=error")
    cni = [python, "-m", "sriov_cni", f"--socket={node.root}/cni.sock", *places, *options]
    plugin = [python, "-m", "deviceplugin", *node.flags(), f"--http=unix:{node.root}/plugin-http.sock"]
    await node.kubelet.start()
    with _process(plugin, checkout) as first, _process(cni, checkout) as second:
        await node.kubelet.wait_until(node.known, timeout=60)
        yield {"deviceplugin": first.pid, "cni": second.pid}
        for process in (first, second):
            if process.poll() is not None:
                raise errors.LabError(f"{process.args!r} ended with status {process.returncode} while it should rest")
    await node.kubelet.stop()


@contextlib.contextmanager
def _process(command: list[str], checkout: pathlib.Path) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, cwd=checkout, env=os.environ | {"PYTHONPATH": str(checkout)}) as process:
        try:
            yield process
        finally:
            process.terminate()


def _wakeups(pid: int) -> int:
    """Return how often its threads have waited so far; a thread that ends takes its count with it."""
    found = (path.read_text() for path in pathlib.Path(f"/proc/{pid}/task").glob("*/status"))
    return sum(int(_number(r"^voluntary_ctxt_switches:\s+(\d+)", text)) for text in found)


def _threads(pid: int) -> str:
    return _number(r"^Threads:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())


def _pss(pid: int) -> float:
    return int(_number(r"^Pss:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text())) / _MB


def _number(pattern: str, text: str) -> str:
    [found] = re.findall(pattern, text, re.MULTILINE)
    return str(found)
