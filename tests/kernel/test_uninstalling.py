"""`sriov-underlay uninstall` and what the CNI daemon has left in the kernel: real BPF, real nftables."""

import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from sriov.linux import netns, nftables
from sriov_cni.dataplane import host_link, services
from sriov_installer import __main__ as program
from sriov_installer import flags
from tests.examples import table
from tests.kernel import linked, namespaces
from tests.sriov_cni.dataplane import bpf
from tests.sriov_installer import nodes, test_units

pytestmark = pytest.mark.root
PROJECT = pathlib.Path(__file__).parents[2]


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


@pytest.fixture
def place(tmp_path: pathlib.Path) -> Iterator[linked.Place]:
    with linked.opened(tmp_path) as made:
        yield made


def has_rules(place: linked.Place) -> bool:
    with netns.entered(place.home):
        return bool(nftables.comment(host_link.TABLE_NAME))


def uninstall(place: linked.Place, folder: pathlib.Path, *further: str) -> str:
    """In the node's namespace, whose file system is the machine's but for these folders; returns what it says.

    By the command that docs/host-link.md has.
    """
    given = vars(flags.parser(program.COMMANDS).parse_args(["uninstall"]))
    names = [name for name in given if name.endswith("_dir")]
    folders = [f"--{name.replace('_', '-')}={folder / 'none' / name}" for name in names]
    [typed] = table.run_by(__file__, "test_the_nodes_rules_for_host_links_stay_as_long_as_a_pod_has_one")
    words = typed.command.split()[1:]
    command = place.node.command(sys.executable, "-P", "-m", "sriov_installer", *words, *folders, *further)
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_nodes_rules_for_host_links_stay_as_long_as_a_pod_has_one(
    place: linked.Place, tmp_path: pathlib.Path
) -> None:
    """A daemon that was killed leaves them."""
    place.add(hostLink=True)
    place.nft("add table inet others")
    place.daemon.kill()
    place.daemon.wait()
    assert uninstall(place, tmp_path) == "nothing to do\n"
    assert has_rules(place)
    [name] = [each["ifname"] for each in linked.shown(place.node.name, "link") if each["ifname"].startswith("svl")]
    linked.ip(place.node.name, f"link del {name}")
    step = "remove the table inet sriov-underlay of nftables, as no pod has a host link\n"
    assert uninstall(place, tmp_path, "--dry-run") == f"would {step}"
    assert has_rules(place)
    assert uninstall(place, tmp_path, "--shim-only") == "nothing to do\n"
    assert has_rules(place)
    assert uninstall(place, tmp_path) == step
    assert not has_rules(place)
    assert uninstall(place, tmp_path) == "nothing to do\n"
    place.nft("delete table inet others")  # which is still there


@pytest.mark.parametrize("pods_left", [False, True])
def test_a_daemon_that_ends_takes_them_with_it_unless_a_pod_has_a_host_link(
    place: linked.Place, pods_left: bool
) -> None:
    place.add(hostLink=True)
    if not pods_left:
        assert place.client.call("DEL", linked.network()).code == 0
    assert has_rules(place)
    place.daemon.terminate()
    assert place.daemon.wait(20) == 0
    assert has_rules(place) == pods_left


def test_a_daemon_that_ends_where_nobody_had_a_host_link_has_nothing_to_take(place: linked.Place) -> None:
    place.add()
    place.nft("add table inet others")
    place.daemon.terminate()
    assert place.daemon.wait(20) == 0
    place.nft("delete table inet others")
