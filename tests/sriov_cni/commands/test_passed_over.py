"""CHECK does not report what ADD passed over, also if the daemon has been restarted since."""

import pathlib

import msgspec
import pytest

from sriov import settings
from tests.fakes import bench, drivers
from tests.sriov_cni import harness
from tests.sriov_cni.conftest import CniNode

HOST_MAC = "02:00:00:00:aa:01"


@pytest.mark.parametrize("name", sorted(drivers.ALL))
def test_check_after_a_restart_of_the_daemon(tmp_path: pathlib.Path, name: str) -> None:
    here = bench.make(tmp_path, drivers.ALL[name])
    network = harness.configuration(here.vfs[0])
    client = harness.Client(tmp_path / "cni.sock", "", here.machine.path("pod"))
    with harness.daemon(here.node, here.book, client.socket, here.machine.adopt):
        added = client.call("ADD", network)
        assert added.code == 0, added
    again = msgspec.structs.replace(here.node, unsupported=type(here.node.unsupported)())
    with harness.daemon(again, here.book, client.socket, here.machine.adopt):
        answer = client.call("CHECK", {**network, "prevResult": added.document})
        assert answer.code == 0, answer
        assert client.call("DEL", network).code == 0


def test_check_of_an_older_versions_record_compares_what_was_asked_for(tmp_path: pathlib.Path) -> None:
    here = bench.make(tmp_path, drivers.MLX5_SWITCHDEV)
    network = harness.configuration(here.vfs[0])
    client = harness.Client(tmp_path / "cni.sock", "", here.machine.path("pod"))
    with harness.daemon(here.node, here.book, client.socket, here.machine.adopt):
        added = client.call("ADD", network).document
        path = tmp_path / f"run/vfs/{here.vfs[0]}.json"
        path.write_text(path.read_text().replace('"passed_over"', '"unknown"'))
        assert client.call("CHECK", {**network, "prevResult": added}).code == 0


def test_check_finds_that_the_pf_no_longer_holds_a_vf_to_its_own_mac(cni: CniNode) -> None:
    network = cni.conf()
    network["prevResult"] = cni.client.call("ADD", network).document
    assert cni.client.call("CHECK", network).code == 0
    cni.bench.machine.administer(2, 0, settings.BASELINE)
    answer = cni.client.call("CHECK", network)
    assert (answer.code, "has mac 00:00:00:00:00:00, not 02:00:00:02:00:00" in answer.message) == (101, True), answer


@pytest.mark.parametrize(("named", "given"), [(None, HOST_MAC), (bench.MAC, bench.MAC)])
def test_a_userspace_vf_keeps_its_hosts_mac_and_the_result_says_it(cni: CniNode, named: str | None, given: str) -> None:
    cni.bench.machine.administer(2, 0, settings.VfSettings(mac=HOST_MAC))
    cni.bench.machine.node.set_driver(cni.bench.vfs[0], "vfio-pci")
    cni.bench.machine.node.set_netdev(cni.bench.vfs[0])
    network = cni.conf(mac=named)
    added = cni.client.call("ADD", network).document
    assert [each["mac"] for each in added["interfaces"]] == [given]
    assert cni.bench.vf_state().mac == given
    assert cni.client.call("CHECK", {**network, "prevResult": added}).code == 0
    assert cni.client.call("DEL", network).code == 0
    assert cni.bench.vf_state() == settings.VfSettings(mac=HOST_MAC)
