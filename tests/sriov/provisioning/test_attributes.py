"""The sysfs that the tests write to does what the guest's does; the door to the real one."""

import errno
import pathlib
from collections.abc import Iterator

import pytest

from sriov import errors
from sriov.linux import sysfs_writes
from tests.sriov.provisioning import attributes_contract, nodes


class TestWorld(attributes_contract.Contract):
    @pytest.fixture
    def bench(self, tmp_path: pathlib.Path) -> Iterator[attributes_contract.Bench]:
        with nodes.made(tmp_path) as node:
            yield attributes_contract.Bench(node.writes, node.machine.node.tree, nodes.PF0)


def test_a_write_is_one_line(tmp_path: pathlib.Path) -> None:
    (tmp_path / "numvfs").write_text("")
    sysfs_writes.Sysfs(tmp_path).write("numvfs", "7")
    assert (tmp_path / "numvfs").read_text() == "7\n"


def test_a_refusal_says_what_can_be_done(tmp_path: pathlib.Path) -> None:
    with pytest.raises(
        errors.KernelError, match=r"write '7' to .*/none: No such file.*; its driver cannot make VFs"
    ) as caught:
        sysfs_writes.Sysfs(tmp_path).write("none", "7")
    assert caught.value.errno == errno.ENOENT
