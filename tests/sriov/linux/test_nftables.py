"""nftables: many requests in a row leave few sockets open, and after a moment none."""

import contextlib
import os
import resource

import pytest

from sriov import errors
from sriov.linux import netns, nftables
from tests.kernel import namespaces

pytestmark = pytest.mark.root


def test_sockets_do_not_heap_up_although_they_are_closed_later() -> None:
    before = namespaces.open_descriptors()
    with netns.created() as where, netns.entered(where):
        for _ in range(300):
            nftables.run("add table inet ours\ndelete table inet ours")
            nftables.generation()
            assert namespaces.open_descriptors() < before + 120
    assert namespaces.until(lambda: namespaces.open_descriptors() <= before, 5)


def test_a_process_with_many_files_open_is_told_so_and_lives() -> None:
    """The library's select(2) would end it."""
    with contextlib.ExitStack() as stack:
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], 2048), before[1]))
        where = stack.enter_context(netns.created())
        stack.enter_context(netns.entered(where))
        for _ in range(1100):
            stack.callback(os.close, os.dup(0))
        with pytest.raises(errors.KernelError, match="EMFILE"):
            nftables.run("add table inet ours")
    with netns.created() as where, netns.entered(where):
        nftables.run("add table inet ours")
