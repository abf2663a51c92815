"""Mock node: what it does in the kernel's place (root)."""

import contextlib
import pathlib
import subprocess

import pytest

from tests.fakes import mock_node
from tests.kernel import namespaces

pytestmark = pytest.mark.root


def test_a_vf_comes_home_as_soon_as_the_kernel_has_ended_its_namespace(tmp_path: pathlib.Path) -> None:
    """Which it does in the background, so it is done often here."""
    with contextlib.closing(mock_node.MockNode(tmp_path, pfs=1, vfs=1)) as node:
        [(pci, vf)] = node.state.read().items()
        subprocess.run(["ip", "-n", node.name, "link", "add", "vlan0", "type", "bridge"], check=True)
        for _ in range(10):
            with namespaces.made("pod") as pod:
                name = node.netdev(pci).name  # type: ignore[union-attr]
                subprocess.run(["ip", "-n", node.name, "link", "set", name, "netns", pod.name], check=True)
            node.bring_home(pci, name, vf.address)
            assert node.netdev(pci) is not None
