"""ADD, DEL, CHECK and VERSION through the real shim and daemon, on the kernel in memory."""

import ipaddress
import json
import subprocess

import pytest

from sriov import settings
from sriov.linux import kernel
from sriov.settings import Setting
from sriov_cni.spec import netconf
from tests.fakes import bench
from tests.sriov_cni import harness
from tests.sriov_cni.conftest import IPAM, CniNode

KEYS = {
    "vlan": 100,
    "vlanQoS": 3,
    "mac": bench.MAC.upper(),
    "spoofchk": "off",
    "trust": "on",
    "max_tx_rate": 200,
    "mtu": 1400,
}


def test_c25_add_gives_the_pod_its_vf_as_configured(cni: CniNode) -> None:
    answer = cni.client.call("ADD", cni.conf(**KEYS, ipam={"type": "fixed"}))
    assert answer.code == 0, answer
    link = cni.bench.in_pod()
    assert (link.address, link.mtu, link.up) == (bench.MAC, 1400, True)
    assert cni.bench.vf_state() == bench.WANTED
    with cni.bench.node.kernel() as net, net.inside(cni.bench.pod) as inner:
        assert inner.addresses(link.index) == (ipaddress.ip_interface("10.1.0.5/24"),)
        assert inner.routes(link.index)[-1].gateway == ipaddress.ip_address("10.1.0.1")
    assert answer.document == {
        "cniVersion": "1.1.0",
        "interfaces": [
            {"name": "net1", "mac": bench.MAC, "mtu": 1400, "sandbox": cni.client.netns, "pciID": "0000:01:10.0"}
        ],
        "ips": [{"address": "10.1.0.5/24", "gateway": "10.1.0.1", "interface": 0}],
        "routes": [{"dst": "0.0.0.0/0"}],
    }


def test_c42_del_twice_leaves_the_node_as_it_was(cni: CniNode) -> None:
    before = cni.bench.machine.snapshot()
    assert cni.client.call("ADD", cni.conf(**KEYS, ipam={"type": "fixed"})).code == 0
    for _ in range(2):
        answer = cni.client.call("DEL", cni.conf(ipam={"type": "fixed"}))
        assert (answer.code, answer.stdout) == (0, "")
        assert cni.bench.machine.snapshot() == before
    assert harness.ipam_calls(cni.plugins, "fixed") == ["ADD", "DEL", "DEL"]


def test_c48_del_finds_the_vf_without_its_device_id(cni: CniNode) -> None:
    before = cni.bench.machine.snapshot()
    assert cni.client.call("ADD", cni.conf(**KEYS)).code == 0
    assert cni.client.call("DEL", cni.conf(deviceID=None, vlan="garbage")).code == 0
    assert cni.bench.machine.snapshot() == before


@pytest.mark.parametrize("gone", ["", "/nonexistent", "/etc/hostname"])
def test_c43_del_after_the_namespace_is_gone(cni: CniNode, gone: str) -> None:
    before = cni.bench.machine.snapshot()
    assert cni.client.call("ADD", cni.conf(**KEYS, ipam={"type": "fixed"})).code == 0
    cni.bench.machine.destroy("pod")
    assert cni.bench.at_home("net1").address == bench.MAC
    assert cni.client.call("DEL", cni.conf(ipam={"type": "fixed"}), NETNS=gone).code == 0
    assert cni.bench.machine.snapshot() == before
    assert harness.ipam_calls(cni.plugins, "fixed") == ["ADD", "DEL"]


@pytest.mark.parametrize(
    "previous", [17, "x", [], {}, None, {"ips": 3}, {"interfaces": [{"name": 5}]}, {"cniVersion": 9}]
)
def test_c44_del_with_any_prev_result(cni: CniNode, previous: object) -> None:
    before = cni.bench.machine.snapshot()
    assert cni.client.call("ADD", cni.conf(**KEYS, ipam={"type": "fixed"})).code == 0
    stdin = json.dumps({**cni.conf(ipam={"type": "fixed"}), "prevResult": previous}).encode()
    answer = cni.client.call("DEL", stdin)
    assert (answer.code, answer.stdout) == (0, "")
    assert cni.bench.machine.snapshot() == before
    assert harness.ipam_calls(cni.plugins, "fixed") == ["ADD", "DEL"]


def test_c49_a_late_del_of_a_former_owner_touches_nothing(cni: CniNode) -> None:
    assert cni.client.call("ADD", cni.conf(**KEYS)).code == 0
    before = cni.bench.machine.snapshot()
    assert cni.client.call("DEL", cni.conf(), CONTAINERID="c0").code == 0
    assert cni.bench.machine.snapshot() == before
    assert cni.bench.in_pod().address == bench.MAC


def test_f6_a_dead_owners_vf_is_scrubbed_before_the_next_owner_has_it(cni: CniNode) -> None:
    assert cni.client.call("ADD", cni.conf(**KEYS)).code == 0
    cni.bench.machine.destroy("pod")
    with cni.bench.machine.namespace("next") as pod:
        answer = cni.client.call("ADD", cni.conf(), CONTAINERID="c2", NETNS=cni.bench.machine.path("next"))
        assert answer.code == 0, answer
        assert cni.bench.vf_state() == bench.own()
        assert cni.client.call("DEL", cni.conf(), NETNS="").code == 0
        with cni.bench.node.kernel() as net, net.inside(pod) as inner:
            assert inner.link("net1").address == "02:00:00:02:00:00"
    record = cni.bench.book.read(cni.bench.vfs[0])
    assert record is not None
    assert record.home is not None
    assert (record.owner.container_id, record.home.name) == ("c2", "enp1s0v0")


def test_c36_a_second_add_changes_nothing(cni: CniNode) -> None:
    assert cni.client.call("ADD", cni.conf(**KEYS)).code == 0
    before = cni.bench.machine.snapshot()
    answer = cni.client.call("ADD", cni.conf())
    assert answer.code == 11
    assert "held by container c1" in answer.message
    assert cni.bench.machine.snapshot() == before


def test_c37_another_containers_vf_is_refused(cni: CniNode) -> None:
    assert cni.client.call("ADD", cni.conf(**KEYS)).code == 0
    before = cni.bench.machine.snapshot()
    assert cni.client.call("ADD", cni.conf(), CONTAINERID="c2", IFNAME="net2").code == 11
    assert cni.bench.machine.snapshot() == before


def test_c33_a_failing_ipam_is_rolled_back_and_its_error_kept(cni: CniNode) -> None:
    error = '{"code": 123, "msg": "pool is empty", "details": "10.1.0.0/24"}'
    harness.ipam_plugin(cni.plugins, "broken", f"[ $CNI_COMMAND != ADD ] || {{ echo '{error}'; exit 1; }}")
    before = cni.bench.machine.snapshot()
    answer = cni.client.call("ADD", cni.conf(ipam={"type": "broken"}))
    message = "IPAM plugin 'broken': pool is empty"
    assert (answer.code, answer.document["msg"], answer.document["details"]) == (123, message, "10.1.0.0/24")
    assert cni.bench.machine.snapshot() == before
    assert harness.ipam_calls(cni.plugins, "broken") == ["ADD", "DEL"]
    assert list(cni.bench.book.records()) == []


@pytest.mark.parametrize(
    ("script", "code", "message"),
    [
        ("echo '{}'", 999, "returned missing IP config"),
        ("echo nonsense", 6, "not a CNI result"),
        ('echo \'{"ips":[{"address":"10.1.0.300/24"}]}\'', 6, "10.1.0.300/24"),
        ("echo oops; exit 3", 999, "failed with status 3: oops"),
        ("kill -9 $$", 999, "failed with status 255: it printed nothing"),
    ],
)
def test_c34_c80_an_ipam_plugin_that_misbehaves(cni: CniNode, script: str, code: int, message: str) -> None:
    harness.ipam_plugin(cni.plugins, "odd", f"[ $CNI_COMMAND != ADD ] || {{ {script}; }}")
    before = cni.bench.machine.snapshot()
    answer = cni.client.call("ADD", cni.conf(ipam={"type": "odd"}))
    assert (answer.code, message in answer.message) == (code, True), answer
    assert cni.bench.machine.snapshot() == before
    assert harness.ipam_calls(cni.plugins, "odd") == ["ADD", "DEL"]


def test_c77_an_ipam_plugin_that_is_not_there(cni: CniNode) -> None:
    before = cni.bench.machine.snapshot()
    answer = cni.client.call("ADD", cni.conf(ipam={"type": "absent"}))
    assert (answer.code, "'absent' is not on CNI_PATH" in answer.message) == (7, True)
    assert cni.bench.machine.snapshot() == before


def test_c78_ipam_sees_the_stdin_to_the_byte_and_the_whole_environment(cni: CniNode) -> None:
    harness.ipam_plugin(cni.plugins, "env", '/usr/bin/env > "$0.env"; exit 1')
    stdin = json.dumps(cni.conf(ipam={"type": "env"}), indent=3).encode()
    cni.client.call("ADD", stdin, ARGS="IgnoreUnknown=1;K8S_POD_NAME=p")
    assert (cni.plugins / "env.stdin").read_bytes() == stdin
    seen = (cni.plugins / "env.env").read_text().splitlines()
    assert {"CNI_COMMAND=DEL", "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAME=p", "CNI_IFNAME=net1"} <= set(seen)
    assert any(line.startswith("PATH=") for line in seen)


def test_c79_ipam_stderr_goes_to_ours(cni: CniNode) -> None:
    harness.ipam_plugin(cni.plugins, "loud", "echo watch out >&2; exit 1")
    assert "watch out" in cni.client.call("ADD", cni.conf(ipam={"type": "loud"})).stderr


def test_c47_an_ipam_error_at_del_comes_after_our_own_work(cni: CniNode) -> None:
    before = cni.bench.machine.snapshot()
    assert cni.client.call("ADD", cni.conf(**KEYS)).code == 0
    harness.ipam_plugin(cni.plugins, "broken", 'echo \'{"code": 5, "msg": "disk"}\'; exit 1')
    assert cni.client.call("DEL", cni.conf(ipam={"type": "broken"})).code == 5
    assert cni.bench.machine.snapshot() == before


@pytest.mark.parametrize("version", netconf.VERSIONS)
def test_c71_the_answer_speaks_the_configurations_version(cni: CniNode, version: str) -> None:
    document = cni.client.call("ADD", cni.conf(cniVersion=version, ipam={"type": "fixed"})).document
    assert document["cniVersion"] == version
    interface: dict[str, object] = {"name": "net1", "mac": "02:00:00:02:00:00", "sandbox": cni.client.netns}
    if version == "1.1.0":
        interface |= {"mtu": 1500, "pciID": "0000:01:10.0"}
    assert document["interfaces"] == [interface]
    assert document["ips"][0].get("version") == (None if version >= "1" else "4")


def test_c23_version_lists_what_is_supported(cni: CniNode) -> None:
    answer = cni.client.call("VERSION", {"cniVersion": "0.4.0"}, NETNS="dummy", IFNAME="a/b", CONTAINERID="-")
    assert answer.document == {"cniVersion": "0.4.0", "supportedVersions": list(netconf.VERSIONS)}


def test_c22_version_does_not_wait_for_a_pipe_that_nobody_closes(cni: CniNode) -> None:
    env = {"SRIOV_CNI_SOCKET": str(cni.client.socket), "CNI_COMMAND": "VERSION"}
    with subprocess.Popen(cni.client.shim, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as shim:
        assert shim.stdout
        assert json.loads(shim.stdout.read())["cniVersion"] == "1.1.0"


def test_c53_check_of_a_healthy_attachment_changes_nothing(cni: CniNode) -> None:
    result = cni.client.call("ADD", cni.conf(**KEYS, ipam={"type": "fixed"})).document
    before = cni.bench.machine.snapshot()
    answer = cni.client.call("CHECK", cni.conf(**KEYS, ipam={"type": "fixed"}, prevResult=result))
    assert (answer.code, answer.stdout) == (0, ""), answer
    assert cni.bench.machine.snapshot() == before
    assert harness.ipam_calls(cni.plugins, "fixed") == ["ADD", "CHECK"]


@pytest.mark.parametrize(
    ("setting", "change", "message"),
    [
        (Setting.VLAN, settings.VfSettings(vlan=101, qos=3), "has vlan (101, 3, '802.1q'), not (100, 3, '802.1q')"),
        (Setting.TRUST, settings.VfSettings(trust=False), "has trust False"),
        (Setting.SPOOFCHK, settings.VfSettings(spoofchk=True), "has spoofchk True"),
        (Setting.MAC, settings.VfSettings(mac="02:00:00:00:ee:ee"), "has mac 02:00:00:00:ee:ee"),
        (Setting.RATE, settings.VfSettings(max_tx_rate=1), "has tx_rate (0, 1), not (0, 200)"),
    ],
)
def test_c54_check_finds_what_changed_on_the_pf(
    cni: CniNode, setting: Setting, change: settings.VfSettings, message: str
) -> None:
    result = cni.client.call("ADD", cni.conf(**KEYS)).document
    with cni.bench.node.kernel() as net:
        net.set_vf(net.link("enp1s0").index, 0, change, {setting})
    answer = cni.client.call("CHECK", cni.conf(**KEYS, prevResult=result))
    assert (answer.code, message in answer.message) == (101, True), answer


def test_c54_check_finds_what_changed_in_the_pod(cni: CniNode) -> None:
    network = cni.conf(ipam={"type": "fixed"}, trust="on")
    network["prevResult"] = cni.client.call("ADD", network).document

    def check(message: str) -> None:
        answer = cni.client.call("CHECK", network)
        assert (answer.code, message in answer.message) == (101, True), answer

    with cni.bench.node.kernel() as net, net.inside(cni.bench.pod) as inner:
        inner.set_link("net1", kernel.Change(address="02:00:00:00:ee:01"))
        check("has MAC 02:00:00:00:ee:01")
        inner.set_link("net1", kernel.Change(address="02:00:00:02:00:00", up=False))
        check("is down")
        inner.set_link("net1", kernel.Change(up=True))
        inner.rename(inner.link("net1").index, "other")
        check("interface net1 is not in the pod")
        inner.rename(inner.link("other").index, "net1")
    network["prevResult"] = json.loads(json.dumps(network["prevResult"]).replace("10.1.0.5/24", "10.1.0.6/24"))
    check("has lost its address 10.1.0.6/24")


def test_c55_a_trusted_vfs_other_address_is_what_its_pf_shows(cni: CniNode) -> None:
    """A chained plugin has changed it, and says so; igb takes over what a trusted VF says of itself."""
    network = cni.conf(mac=bench.MAC, trust="on")
    result = cni.client.call("ADD", network).document
    other = "02:00:00:00:ee:ee"
    with cni.bench.node.kernel() as net, net.inside(cni.bench.pod) as inner:
        pf = net.link("enp1s0").index
        net.set_vf(pf, 0, settings.BASELINE, {Setting.MAC})
        inner.set_link("net1", kernel.Change(address=other))
        net.set_vf(pf, 0, settings.VfSettings(mac=other), {Setting.MAC})
    answer = cni.client.call("CHECK", network | {"prevResult": result})
    assert (answer.code, f"has MAC {other}" in answer.message) == (101, True), answer
    result["interfaces"][0]["mac"] = other
    answer = cni.client.call("CHECK", network | {"prevResult": result})
    assert (answer.code, answer.stdout) == (0, ""), answer


@pytest.mark.parametrize(
    ("change", "code"), [({"cniVersion": "0.3.1"}, 1), ({"prevResult": None}, 7), ({"name": "n1"}, 101)]
)
def test_c51_c52_check_without_what_it_needs(cni: CniNode, change: dict[str, object], code: int) -> None:
    network = cni.conf(prevResult={"cniVersion": "1.1.0", "interfaces": []})
    network.update(change)
    assert cni.client.call("CHECK", network).code == code


def test_c20_calls_for_different_vfs_go_in_parallel(cni: CniNode) -> None:
    """Seven pods at once, each with an IPAM plugin that takes half a second."""
    harness.ipam_plugin(cni.plugins, "slow", f"[ $CNI_COMMAND != ADD ] || {{ sleep 0.5; echo '{IPAM}'; }}")
    env = {"SRIOV_CNI_SOCKET": str(cni.client.socket), "CNI_PATH": cni.client.cni_path, "CNI_NETNS": cni.client.netns}
    shims = []
    for number, vf in enumerate(cni.bench.vfs):
        own = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": f"c{number}", "CNI_IFNAME": f"net{number}"}
        shim = subprocess.Popen(cni.client.shim, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env | own)
        assert shim.stdin
        shim.stdin.write(json.dumps(harness.configuration(vf, ipam={"type": "slow"})).encode())
        shim.stdin.close()
        shims.append(shim)
    assert [shim.wait(timeout=30) for shim in shims] == [0] * len(shims)
    for shim in shims:
        assert shim.stdout
        shim.stdout.close()
    assert all(cni.bench.in_pod(f"net{number}").up for number in range(7))
