"""Bad input: one JSON error object, the right code, the value and the remedy named, nothing changed on the node."""

import json

import pytest
from hypothesis import HealthCheck, given, settings, strategies

from sriov_cni.spec import cni_errors, environment, netconf, vf_request
from tests.sriov_cni import harness
from tests.sriov_cni.conftest import CniNode

GOOD = "0000:01:10.0"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keys", "code", "says"),
    [
        ({"deviceID": None}, 7, "VF pci addr is required"),
        ({"deviceID": ""}, 7, "VF pci addr is required"),
        ({"deviceID": "0000:01:00.0"}, 7, "0000:01:00.0 is a PF"),
        ({"deviceID": "0000:01:1f.7"}, 7, "there is no PCI device 0000:01:1f.7"),
        ({"deviceID": "../../../etc"}, 7, "'../../../etc' is not a PCI address"),
        ({"deviceID": GOOD + "\n"}, 7, "is not a PCI address"),
        (
            {"runtimeConfig": {"deviceID": "0000:01:10.2"}},
            7,
            "'0000:01:10.0' and runtimeConfig.deviceID '0000:01:10.2'",
        ),
        ({"vlan": 5000}, 7, "vlan id 5000 invalid: value must be in the range 0-4094 | use"),
        ({"vlan": -1}, 7, "vlan id -1 invalid"),
        ({"vlan": "100"}, 6, "Expected `int | null`, got `str` - at `$.vlan`"),
        ({"vlan": True}, 6, "got `bool` - at `$.vlan`"),
        ({"vlan": 1.5}, 6, "got `float` - at `$.vlan`"),
        ({"vlanQoS": 8, "vlan": 1}, 7, "vlan QoS PCP 8 invalid: value must be in the range 0-7"),
        ({"vlanQoS": 3}, 7, "vlanQoS 3: non-zero vlan id must be configured"),
        ({"vlanProto": "802.1ad"}, 7, "non-zero vlan id must be configured to set vlan proto 802.1ad"),
        ({"vlanProto": "802.1ad", "vlan": 5}, 2, "refuses vlan 5 with vlanQoS 0 and vlanProto 802.1ad"),
        ({"vlanProto": "802.1x"}, 7, "vlan Proto 802.1x invalid: value must be '802.1Q' or '802.1ad'"),
        ({"mac": "01:00:00:00:00:01"}, 7, "'01:00:00:00:00:01' is a multicast address"),
        ({"mac": "nonsense"}, 7, "'nonsense' is not a hardware address"),
        ({"mac": "00:00:00:00:00:00"}, 7, "is all zero"),
        ({"runtimeConfig": {"mac": "ff:ff:ff:ff:ff:ff"}}, 7, "'ff:ff:ff:ff:ff:ff' is a multicast address"),
        ({"trust": "maybe"}, 2, "trust 'maybe' is neither on nor off"),
        ({"trust": True}, 6, "got `bool` - at `$.trust`"),
        ({"spoofchk": "true"}, 2, "spoofchk 'true' is neither on nor off"),
        ({"link_state": "up"}, 2, "invalid link_state value: up"),
        ({"link_state": "disable"}, 2, "refuses link_state disable"),
        ({"min_tx_rate": -1}, 7, "min_tx_rate -1 invalid"),
        ({"min_tx_rate": 9, "max_tx_rate": 5}, 7, "min_tx_rate 9 exceeds max_tx_rate 5"),
        ({"min_tx_rate": 9}, 2, "refuses min_tx_rate 9 with max_tx_rate 0"),
        ({"mtu": 67}, 7, "mtu 67 invalid"),
        ({"mtu": 9000}, 7, "mtu 9000 exceeds the 1500 of PF enp1s0"),
        ({"ipam": {"type": "../../bin/sh"}}, 7, "ipam.type '../../bin/sh' is not a plugin's name"),
        ({"ipam": "fixed"}, 6, "at `$.ipam`"),
        ({"name": None}, 7, "name None is not a network name"),
        ({"name": "a/b"}, 7, "name 'a/b' is not a network name"),
        ({"name": 7}, 6, "must be strings"),
        ({"cniVersion": None}, 1, "cniVersion '0.1.0' is not supported"),
        ({"cniVersion": "1.2.0"}, 1, "cniVersion '1.2.0' is not supported"),
        ({"cniVersion": 1}, 6, "must be strings"),
        ({"cniVersion": []}, 6, "must be strings"),
        ({"cniVersion": False}, 6, "must be strings"),
        ({"prevResult": {"interfaces": "eth0"}}, 6, "prevResult is not a CNI result"),
        ({"vlanTrunk": "100-110"}, 2, "vlanTrunk '100-110'"),
        ({"allmulti": "yes"}, 2, "allmulti 'yes' is neither on nor off"),
    ],
)
def test_a_bad_configuration(cni: CniNode, keys: dict[str, object], code: int, says: str) -> None:
    network = cni.conf(**{"cniVersion": "1.0.0", **keys})
    _assert_refused(cni, network, {}, code, says)
    assert cni.client.call("DEL", network) == harness.Answer(0, "", ""), "the pod is to end"


@pytest.mark.parametrize(
    ("env", "code", "says"),
    [
        ({"NETNS": "/nonexistent/ns"}, 4, "CNI_NETNS '/nonexistent/ns' is not a network namespace"),
        ({"NETNS": "/etc/hostname"}, 4, "CNI_NETNS '/etc/hostname' is not a network namespace"),
        ({"IFNAME": "taken0"}, 4, "CNI_IFNAME: interface taken0 exists in the pod already"),
        ({"IFNAME": "eth%d"}, 4, "CNI_IFNAME 'eth%d'"),
        ({"IFNAME": "a/b"}, 4, "CNI_IFNAME 'a/b'"),
        ({"IFNAME": "sixteen-bytes-xx"}, 4, "at most 15 bytes"),
        ({"IFNAME": "é"}, 4, "must be ASCII"),
        ({"IFNAME": "all"}, 4, "CNI_IFNAME 'all' is reserved"),
        ({"CONTAINERID": "../x"}, 4, "CNI_CONTAINERID '../x'"),
        ({"CONTAINERID": "a\n"}, 4, "CNI_CONTAINERID 'a\\n'"),
        ({"CONTAINERID": None, "NETNS": "", "IFNAME": None}, 4, "CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME"),
        ({"COMMAND": None}, 4, "missing: CNI_COMMAND"),
        ({"COMMAND": "add"}, 4, "CNI_COMMAND 'add' is not known"),
        ({"ARGS": "MAC"}, 4, "CNI_ARGS: pair 1 is not KEY=VALUE"),
        ({"ARGS": "FOO=1"}, 4, "CNI_ARGS: unknown keys FOO"),
        ({"ARGS": "IgnoreUnknown=1;FOO=1;MAC=03:00:00:00:00:01"}, 7, "'03:00:00:00:00:01' is a multicast address"),
    ],
)
def test_a_bad_environment(cni: CniNode, env: dict[str, str | None], code: int, says: str) -> None:
    cni.bench.machine.add_link("taken0", cni.bench.pod)
    _assert_refused(cni, cni.conf(), env, code, says)


# As host-local 1.1 and 1.9 do, which take no key without IgnoreUnknown either.
STRICT = """case $CNI_ARGS in *IgnoreUnknown*) echo '{"cniVersion":"1.1.0","ips":[{"address":"10.0.0.2/24"}]}';;
*) echo '{"code": 999, "msg": "ARGS: unknown args"}'; exit 1;; esac"""
UNKNOWN = ("FOO=1", "MAC", "PASSWORD=x==", "FOO=\udcff")


@pytest.mark.parametrize("args", UNKNOWN)
def test_c40_a_del_succeeds_whatever_is_in_cni_args(cni: CniNode, args: str) -> None:
    """Its ADD was refused, and the pod is to end. The IPAM plugin is asked all the same."""
    harness.ipam_plugin(cni.plugins, "strict", STRICT)
    network = cni.conf(ipam={"type": "strict"})
    _assert_refused(cni, network, {"ARGS": args}, 4, "CNI_ARGS")
    assert cni.client.call("DEL", network, ARGS=args) == harness.Answer(0, "", "")
    assert harness.ipam_calls(cni.plugins, "strict") == ["DEL"]


def test_c40_a_del_with_other_args_than_its_add_says_that_the_address_is_still_leased(cni: CniNode) -> None:
    harness.ipam_plugin(cni.plugins, "strict", STRICT)
    network = cni.conf(ipam={"type": "strict"})
    before = cni.bench.machine.snapshot()
    assert cni.client.call("ADD", network, ARGS="IgnoreUnknown=1;FOO=1").code == 0
    answer = cni.client.call("DEL", network, ARGS="FOO=1")
    assert (answer.code, "unknown args" in answer.message) == (999, True)
    assert cni.bench.machine.snapshot() == before


@pytest.mark.parametrize(
    "stdin",
    [
        b"",
        b"garbage",
        b"[]",
        b"null",
        b'"x"',
        b"{",
        b'{"name":"\xff"}',
        b'{"cniVersion":"1.0.0","name":"n1","type":"sriov","deviceID":"0000:01:10.0","\xff":1}',
        b"[" * 200_000,
        b'{"a":' * 50_000,
        b"\xef\xbb\xbf{}",
    ],
    ids=lambda stdin: repr(stdin[:12]),
)
def test_c12_garbage_on_stdin(cni: CniNode, stdin: bytes) -> None:
    _assert_refused(cni, stdin, {}, 6, "stdin is not a network configuration")


def test_c12_too_much_on_stdin(cni: CniNode) -> None:
    _assert_refused(cni, json.dumps(cni.conf(x="y" * (1 << 20))).encode(), {}, 5, "longer than 1048576 bytes")


def test_c31_the_hosts_own_namespace(cni: CniNode) -> None:
    _assert_refused(cni, cni.conf(), {"NETNS": cni.bench.machine.path("host")}, 8, "is the host's own namespace")


def test_a_vf_without_a_driver(cni: CniNode) -> None:
    cni.bench.machine.node.set_driver(cni.bench.vfs[0], None)
    _assert_refused(cni, cni.conf(), {}, 7, f"VF {GOOD} has no driver")


def test_c17_unknown_keys_do_not_matter(cni: CniNode) -> None:
    assert cni.client.call("ADD", cni.conf(x={"y": 1}, pciBusID=GOOD, **{"cni.dev/attachments": []})).code == 0


def test_c13_an_error_speaks_the_configurations_version(cni: CniNode) -> None:
    assert cni.client.call("ADD", cni.conf(cniVersion="0.4.0", vlan=5000)).document["cniVersion"] == "0.4.0"
    assert cni.client.call("ADD", b"garbage").document["cniVersion"] == netconf.NEWEST


def test_c39_mac_precedence(cni: CniNode) -> None:
    first, second, third = (f"02:00:00:00:aa:0{number}" for number in (1, 2, 3))
    for keys, args, expected in (
        ({"mac": third}, "", third),
        ({"mac": third}, f"MAC={second}", second),
        ({"mac": third, "runtimeConfig": {"mac": first}}, f"IgnoreUnknown=1;K8S_POD_NAME=x;MAC={second}", first),
    ):
        answer = cni.client.call("ADD", cni.conf(**keys), ARGS=args)
        assert answer.document["interfaces"][0]["mac"] == expected
        assert cni.client.call("DEL", cni.conf()).code == 0


def _assert_refused(cni: CniNode, stdin: object, env: dict[str, str | None], code: int, says: str) -> None:
    before = cni.bench.machine.snapshot()
    command = env.get("COMMAND", "ADD") if "COMMAND" in env else "ADD"
    answer = cni.client.call(command or "", stdin, **{key: value for key, value in env.items() if key != "COMMAND"})
    assert (answer.code, says in answer.message) == (code, True), answer
    assert answer.document["details"], "the remedy is missing"
    assert cni.bench.machine.snapshot() == before
    assert list(cni.bench.book.records()) == []
    assert harness.ipam_calls(cni.plugins, "fixed") == []


JSON = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers() | strategies.floats() | strategies.text(),
    lambda inner: strategies.lists(inner) | strategies.dictionaries(strategies.text(), inner),
    max_leaves=8,
)
KEYS = strategies.sampled_from(sorted(vf_request.KEYS | {"runtimeConfig", "prevResult", "name", "cniVersion"}))


@pytest.mark.slow
@given(strategies.dictionaries(KEYS, JSON))
@settings(max_examples=500, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_c4_no_configuration_is_anything_but_accepted_or_a_typed_error(keys: dict[str, object]) -> None:
    document = netconf.decode(json.dumps({**harness.configuration(GOOD), **keys}).encode(errors="surrogatepass"))
    for check in (netconf.network, lambda found: vf_request.read(found, environment.Arguments())):
        try:
            check(document)
        except cni_errors.CniError as error:
            told = json.loads(cni_errors.encode(error, netconf.version(document)))
            assert told["code"] in (1, 2, 4, 5, 6, 7)
            assert told["details"]
