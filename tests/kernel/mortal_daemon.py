"""The CNI daemon of a mock node, forked, which dies by SIGKILL after its `last` request to the real kernel."""

import contextlib
import os
import pathlib
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from sriov.linux import kernel, netns
from sriov_cni import app as daemon
from tests.fakes import mock_kernel, mock_node
from tests.kernel import namespaces
from tests.lab import mortal_kernel, watched_kernel


@contextlib.contextmanager
def running(node: mock_node.MockNode, home: netns.Netns, last: int = mortal_kernel.NEVER) -> Iterator[None]:
    """Run it until the end of the context, in the node's namespace `home`. A fork starts at once."""
    socket = node.folder / "run/cni.sock"
    socket.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        _serve(node, home, last)
    try:
        assert namespaces.until(socket.exists)
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _serve(node: mock_node.MockNode, home: netns.Netns, last: int) -> None:
    """Serve, in the child: nothing of the parent runs in it."""
    try:
        flags = ["--sysfs", str(node.sysfs_root), "--run-dir", str(node.folder / "run"), "--log-level", "error"]
        with netns.entered(home):
            daemon.main(flags, _opener(node.folder, last))
    finally:
        os._exit(1)


def _opener(folder: pathlib.Path, last: int) -> Callable[[], AbstractContextManager[kernel.Kernel]]:
    life, opening = mortal_kernel.Life(last), mock_kernel.opener(folder)

    @contextlib.contextmanager
    def opened() -> Iterator[kernel.Kernel]:
        with opening() as net:
            yield watched_kernel.around(net, life.request)

    return opened
