"""The file is read as it is meant, or refused with one sentence that names the thing, the value and the remedy."""

import json
import pathlib

import pytest

from sriov import devices
from sriov.provisioning import document, policies

FULL = """
policies:
- name: rails
  selector:
    pfNames: [eth1]
    pciAddresses: [0000:01:00.0, 02:00.1]
    vendors: [8086, 0x15B3]
    devices: [1017]
    drivers: [igb]
  numVfs: 7
  driver: vfio-pci
  mtu: 9000
  eswitchMode: switchdev
  trust: true
  spoofchk: false
  macRange: {first: 02:00:00:00:01:00, last: 02:00:00:00:01:0F}
- selector: {drivers: [mlx5_core]}
  numVfs: 0
"""


def test_every_key() -> None:
    """Nothing needs quotes: YAML's own numbers of base 60 and its hexadecimal ones are not asked."""
    full, short = document.parse(FULL.encode(), "node.yaml")
    assert full == policies.PfPolicy(
        name="rails",
        selector=policies.PfSelector(
            pf_names=frozenset({"eth1"}),
            pci_addresses=frozenset({"0000:01:00.0", "0000:02:00.1"}),
            vendors=frozenset({"8086", "15b3"}),
            devices=frozenset({"1017"}),
            drivers=frozenset({"igb"}),
        ),
        numvfs=7,
        driver="vfio-pci",
        mtu=9000,
        eswitch=devices.EswitchMode.SWITCHDEV,
        trust=True,
        spoofchk=False,
        macs=policies.MacRange(0x020000000100, 0x02000000010F),
    )
    assert short == policies.PfPolicy("policies[1]", policies.PfSelector(drivers=frozenset({"mlx5_core"})), 0)


def test_json_says_the_same(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "node.json"
    wanted = {"selector": {"pfNames": ["eth1"]}, "numVfs": 7, "trust": True, "mtu": None}
    path.write_text(json.dumps({"policies": [wanted]}, indent="\t"))
    text = b"policies: [{selector: {pfNames: [eth1]}, numVfs: 7, trust: true, mtu: null}]"
    assert document.load(path) == document.parse(text, "node.yaml")


def policy(more: str = "", selector: str = "{pfNames: [eth1]}") -> str:
    return f"policies:\n- selector: {selector}\n  numVfs: 7\n  {more}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("policies: [", r"node.yaml is not YAML: .*line 1.*; indent"),
        ("[]", r"node.yaml: the file is \[\]: Expected `object`, got `array`; docs/provisioning.md"),
        ("policies:\n- numVfs: 7", r"policies\[0\] is \{'numVfs': '7'\}: Object missing required field `selector`"),
        (policy("numVFs: 8"), r"policies\[0\] has a key 'numVFs' that is not known; did you mean numVfs\?"),
        (policy("numVfs: 8"), r"not YAML: 'numVfs' comes twice .*line 4"),
        (policy("mtu: big"), r"policies\[0\].mtu is 'big': Expected `int \| null`, got `str`"),
        (policy("mtu: 60"), r"policies\[0\].mtu is '60': Expected `int` >= 68"),
        (policy("trust: maybe"), r"policies\[0\].trust is 'maybe': Expected `bool \| null`"),
        (policy("eswitchMode: offloads"), r"policies\[0\].eswitchMode is 'offloads': Invalid enum value"),
        (policy("driver: vfio/pci"), r"policies\[0\].driver is 'vfio/pci'; write vfio-pci, .* or default"),
        (policy(selector="{}"), r"policies\[0\].selector is empty, and would take every PF; name the PFs"),
        (
            policy(selector="{pfNames: [eth1#0-3]}"),
            r"pfNames has 'eth1#0-3': VFs are not chosen here; name only the PF",
        ),
        (policy(selector="{pciAddresses: [1:0]}"), r"pciAddresses has '1:0', which is no PCI address; write domain"),
        (policy(selector="{vendors: [intel]}"), r"vendors has 'intel'; write four hex digits"),
        (policy("macRange: {first: 02:00, last: 02:00:00:00:00:02}"), r"macRange.first: mac '02:00' is not"),
        (policy("macRange: {first: 01:00:00:00:00:01, last: 02:00:00:00:00:02}"), r"first: .* is a multicast"),
        (policy("macRange: {first: 02:00:00:00:00:05, last: 02:00:00:00:00:02}"), r"goes from .*; write the lower"),
        (policy("macRange: {first: 02:ff:ff:ff:ff:ff, last: 04:00:00:00:00:02}"), r"same first octet"),
    ],
)
def test_what_cannot_be_right_is_refused(text: str, message: str) -> None:
    with pytest.raises(document.DocumentError, match=message):
        document.parse(text.encode(), "node.yaml")


def test_ranges_that_overlap() -> None:
    one = policy("macRange: {first: 02:00:00:00:00:05, last: 02:00:00:00:00:0f}")
    other = one.removeprefix("policies:\n").replace("00:05", "00:0a")
    with pytest.raises(
        document.DocumentError, match=r"macRanges of policies\[0\] and policies\[1\] overlap; give each"
    ):
        document.parse((one + other).encode(), "node.yaml")


def test_a_file_that_is_no_json() -> None:
    with pytest.raises(document.DocumentError, match=r"node.json is not JSON: .*; look for an extra comma"):
        document.parse(b'{"policies": [],}', "node.json")


def test_a_file_that_is_not_there(tmp_path: pathlib.Path) -> None:
    with pytest.raises(
        document.DocumentError, match=r"none.yaml cannot be read: No such file.*; name an existing file"
    ):
        document.load(tmp_path / "none.yaml")
