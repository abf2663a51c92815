"""Attachments that are there end, and are looked at, whatever their configuration says that no ADD takes."""

import dataclasses
import json
import pathlib
import subprocess
from collections.abc import Iterator

import pytest

from sriov import settings
from sriov.state import predecessor
from sriov_cni.spec import cni_errors, netconf
from tests.fakes import bench
from tests.sriov_cni import harness
from tests.sriov_cni.conftest import CniNode

HOST_LOCAL = pathlib.Path("/usr/lib/cni/host-local")

NO_ADD_TAKES: list[dict[str, object]] = [
    {"cniVersion": None},
    {"cniVersion": ""},
    {"cniVersion": "0.1.0"},
    {"cniVersion": "0.2.0"},
    {"cniVersion": "1.2.0"},
    {"cniVersion": "v1.1.0"},
    {"cniVersion": 1},
    {"cniVersion": []},
    {"name": None},
    {"name": 7},
    {"name": "a/b"},
    {"vlan": 5000},
    {"vlan": "100"},
    {"mac": 5},
    {"trust": True},
    {"deviceID": 7},
    {"runtimeConfig": "x"},
    {"vlanTrunk": "100-110"},
    {"dns": 3},
    {"mtu": "big"},
    {"unheardOf": {"a": [1]}},
]


def stdin(network: dict[str, object], keys: dict[str, object]) -> bytes:
    return json.dumps({key: value for key, value in {**network, **keys}.items() if value is not None}).encode()


@pytest.mark.slow
@pytest.mark.parametrize("keys", NO_ADD_TAKES, ids=str)
def test_a_del_ends_the_attachment_and_hands_it_to_ipam(cni: CniNode, keys: dict[str, object]) -> None:
    before = cni.bench.machine.snapshot()
    network = cni.conf(vlan=100, ipam={"type": "fixed"})
    assert cni.client.call("ADD", network).code == 0
    assert cni.client.call("DEL", stdin(network, keys)) == harness.Answer(0, "", "")
    assert cni.bench.machine.snapshot() == before
    assert harness.ipam_calls(cni.plugins, "fixed") == ["ADD", "DEL"]


def test_a_del_ends_the_attachment_whatever_bytes_a_key_has(cni: CniNode) -> None:
    """Go's encoding/json takes them, so sriov-cni may have attached a VF with such a configuration."""
    before = cni.bench.machine.snapshot()
    network = cni.conf()
    odd = stdin(network, {})[:-1] + b', "\xff": 1}'
    assert (refused := cni.client.call("ADD", odd)).code == 6, refused
    assert cni.client.call("ADD", network).code == 0
    assert cni.client.call("DEL", odd) == harness.Answer(0, "", "")
    assert cni.bench.machine.snapshot() == before


@pytest.mark.parametrize(
    "keys", [each for each in NO_ADD_TAKES if "cniVersion" not in each] + [{"cniVersion": "1.2.0"}], ids=str
)
def test_a_check_compares_and_does_not_judge_the_configuration(cni: CniNode, keys: dict[str, object]) -> None:
    network = cni.conf()
    network["prevResult"] = cni.client.call("ADD", network).document
    assert cni.client.call("CHECK", stdin(network, keys)) == harness.Answer(0, "", "")


@pytest.mark.parametrize("version", [None, "", "0.1.0", "0.2.0", "0.3.1", "v1.1.0"])
def test_a_check_has_a_version_that_knows_of_it(cni: CniNode, version: str | None) -> None:
    """libcni never asks otherwise (containernetworking/cni, libcni/api.go, CheckNetworkList())."""
    network = cni.conf()
    network["prevResult"] = cni.client.call("ADD", network).document
    answer = cni.client.call("CHECK", stdin(network, {"cniVersion": version}))
    assert (answer.code, "does not allow CHECK" in answer.message) == (1, True)


@pytest.mark.parametrize("keys", [{"vlan": 5000}, {"mac": 5}, {"deviceID": 7}, {"cniVersion": "1.2.0"}], ids=str)
def test_a_gc_ends_what_is_not_valid_whatever_else_is_there(cni: CniNode, keys: dict[str, object]) -> None:
    assert cni.client.call("ADD", cni.conf()).code == 0
    cni.bench.machine.destroy("pod")
    network = stdin(cni.conf(), {"cni.dev/valid-attachments": [], **keys})
    assert cni.client.call("GC", network, CONTAINERID="", NETNS="") == harness.Answer(0, "", "")
    assert list(cni.bench.book.records()) == []


def test_a_gc_without_a_network_ends_nothing(cni: CniNode) -> None:
    assert cni.client.call("ADD", cni.conf()).code == 0
    network = stdin(cni.conf(), {"cni.dev/valid-attachments": [], "name": None})
    assert cni.client.call("GC", network, CONTAINERID="", NETNS="").code == 7
    assert len(list(cni.bench.book.records())) == 1


@pytest.mark.parametrize("name", ["eth%d", "all", "default", "lo", "é"])
def test_a_del_takes_every_name_that_a_runtime_gives(cni: CniNode, name: str) -> None:
    assert cni.client.call("ADD", cni.conf(), IFNAME=name).code == 4
    assert cni.client.call("DEL", cni.conf(), IFNAME=name) == harness.Answer(0, "", "")


@pytest.mark.parametrize("name", ["a/b", "a:b", "..", "a b", "x" * 16])
def test_a_name_that_no_runtime_gives_is_refused_by_del_too(cni: CniNode, name: str) -> None:
    assert cni.client.call("DEL", cni.conf(), IFNAME=name).code == 4


REFUSING = 'echo \'{"code": 1, "msg": "incompatible CNI versions"}\'; exit 1'


@pytest.mark.parametrize("keys", [{"cniVersion": "1.2.0"}, {"cniVersion": 1}, {"name": "a/b"}], ids=str)
def test_an_ipam_plugin_that_refuses_what_every_plugin_refuses_keeps_no_pod(
    cni: CniNode, keys: dict[str, object]
) -> None:
    """No ADD came as far as to give an address."""
    harness.ipam_plugin(cni.plugins, "refusing", REFUSING)
    network = stdin(cni.conf(ipam={"type": "refusing"}), keys)
    assert cni.client.call("DEL", network) == harness.Answer(0, "", "")
    assert harness.ipam_calls(cni.plugins, "refusing") == ["DEL"]


@pytest.mark.parametrize("version", [None, "0.2.0", "1.0.0"])
def test_an_address_that_sriov_cni_was_given_is_not_forgotten(cni: CniNode, version: str | None) -> None:
    """Its ADD took the configuration, so what the IPAM plugin says at DEL is meant."""
    harness.ipam_plugin(cni.plugins, "refusing", REFUSING)
    network = stdin(cni.conf(ipam={"type": "refusing"}), {"cniVersion": version})
    assert cni.client.call("DEL", network).code == 1


@pytest.mark.parametrize(
    ("version", "number"),
    [("", (0, 1, 0)), ("1.1.0", (1, 1, 0)), ("1.1", (1, 1, 0)), ("1.10.0", (1, 10, 0)), ("x", ()), ("9" * 5000, ())],
)
def test_versions_are_compared_as_numbers(version: str, number: tuple[int, ...]) -> None:
    net = netconf.Network(version, "n", None, None, None)
    for since, reached in (("0.4.0", number >= (0, 4, 0)), ("1.1.0", number >= (1, 1, 0))):
        try:
            netconf.needs_version(net, "X", since)
        except cni_errors.CniError:
            assert not reached
        else:
            assert reached


@dataclasses.dataclass(frozen=True, slots=True)
class Upstream:
    """A VF in a pod that sriov-cni attached without `cniVersion`, its record, and the address that host-local gave."""

    bench: bench.Bench
    client: harness.Client
    records: pathlib.Path
    leases: pathlib.Path
    network: dict[str, object]
    before: object


@pytest.fixture(params=[None, "0.1.0", "0.2.0", "0.3.1"])
def upstream(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[Upstream]:
    if not HOST_LOCAL.exists():
        pytest.skip("there is no host-local (containernetworking-plugins)")
    here, folder = bench.make(tmp_path), tmp_path / "upstream"
    before = here.machine.snapshot()
    (folder / "pci").mkdir(parents=True)
    with here.node.kernel() as net:
        index = net.link("enp1s0v0").index
        net.set_vf(net.link("enp1s0").index, 0, settings.VfSettings(vlan=100), {settings.Setting.VLAN})
        net.move(index, here.pod, "net1")
    ranges = {"ranges": [[{"subnet": "10.7.0.0/24"}]], "dataDir": str(tmp_path / "leases")}
    network = harness.configuration(here.vfs[0], cniVersion=request.param, ipam={"type": "host-local", **ranges})
    env = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "net1", "CNI_NETNS": "/run/netns/x"}
    given = subprocess.run(
        [HOST_LOCAL], input=json.dumps(network).encode(), env={**env, "CNI_PATH": "/usr/lib/cni"}, check=True,
        capture_output=True,
    )  # fmt: skip
    assert b"10.7.0." in given.stdout
    original = {"HostIFName": "enp1s0v0", "EffectiveMAC": "02:00:00:02:00:00", "MTU": 1500}
    (folder / "c1-net1").write_text(json.dumps({**network, "OrigVfState": original}))
    (folder / "pci" / here.vfs[0]).write_text("/run/netns/x")
    socket = tmp_path / "cni.sock"
    with harness.daemon(here.node, here.book, socket, here.machine.adopt, upstream=predecessor.Upstream(folder)):
        client = harness.Client(socket, str(HOST_LOCAL.parent), here.machine.path("pod"))
        yield Upstream(here, client, folder, tmp_path / "leases/n1", network, before)
    here.pod.close()
    here.machine.close()


def test_what_sriov_cni_attached_with_an_older_version_is_released_here(upstream: Upstream) -> None:
    assert any(each.name.startswith("10.7.") for each in upstream.leases.iterdir())
    assert upstream.client.call("DEL", upstream.network) == harness.Answer(0, "", "")
    assert upstream.bench.machine.snapshot() == upstream.before
    assert [path.name for path in upstream.records.rglob("*")] == ["pci"]
    assert not any(each.name.startswith("10.7.") for each in upstream.leases.iterdir())
    assert upstream.client.call("DEL", upstream.network) == harness.Answer(0, "", "")
