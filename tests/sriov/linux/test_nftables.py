"""nftables: many requests in a row leave few sockets open, and after a moment none."""

import pytest

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
