"""`sriov-underlay uninstall` and what the CNI daemon has left in the kernel for Services, in a real BPF file system."""

import pathlib

import pytest

from sriov_cni.dataplane import services
from tests.kernel import namespaces
from tests.sriov_cni.dataplane import bpf
from tests.sriov_installer import nodes, test_units

pytestmark = pytest.mark.root


def test_programs_and_maps_end_with_the_units_and_not_while_pods_use_them(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The daemon is stopped first: the order is that of the steps which a dry run shows."""
    node = nodes.make(tmp_path / "node")
    (node.root / "sys/fs").mkdir(parents=True)
    with bpf.mounted(node.root / "sys/fs/bpf") as mounted:
        pins = mounted / "sriov-underlay"
        (mounted / "others").mkdir()
        assert node.run("install", "--services") == 0
        with bpf.translator(pins) as seen:
            assert seen.problems() == []
            book = test_units.attach(node)
            assert node.run("uninstall", "--leave-attachments") == 0
            assert (pins / services.LAYOUT).is_dir(), "the next installation takes them over"
            for record in book.records():
                book.remove(record.pci)
            assert node.run("install", "--services") == 0
            capsys.readouterr()
            assert node.run("uninstall", "--dry-run") == 0
            steps = capsys.readouterr().out.splitlines()
            assert steps[0].startswith("would run systemctl")
            assert steps[-1] == f"would end the programs for Services that are pinned in {pins}"
            assert seen.problems() == []
            assert node.run("uninstall") == 0
            assert not pins.exists()
            assert (mounted / "others").is_dir()
            assert namespaces.until(lambda: "do not run" in "".join(seen.problems()))
    assert node.run("uninstall") == 0


def test_a_folder_of_that_name_that_is_no_bpf_file_system_is_left_alone(tmp_path: pathlib.Path) -> None:
    node = nodes.make(tmp_path / "node")
    mistaken = node.root / "srv" / services.LAYOUT
    mistaken.mkdir(parents=True)
    (mistaken / "precious").touch()
    assert node.run("install") == 0
    assert node.run("uninstall", "--services-dir", "/srv") == 0
    assert (mistaken / "precious").exists()
