"""docs/dra.md: its examples are what the page says they are."""

import json
import pathlib
import re
import subprocess

import msgspec
import pytest
import yaml

from sriov.pools import config, health, resources
from sriov.state import attached_vfs, grants
from sriov_dra.claims import networks, reading
from sriov_dra.publishing import attributes
from sriov_dra.reporting import states
from tests.fakes.cluster import kinds
from tests.sriov_dra import hook_cases, hooks
from tests.sriov_dra.claims import claims
from tests.sriov_dra.publishing import test_slices

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs/dra.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_the_configuration() -> None:
    read = config.parse(blocks("json")[0].encode(), "docs/dra.md", "intel.com")
    assert [each.full_name for each in read.published(resources.Publication.DRA)] == ["intel.com/rail_a"]
    assert read.warnings == ()


def objects() -> list[dict[str, object]]:
    found = (each for block in blocks("yaml") for each in yaml.safe_load_all(block))
    return [each for each in found if "kind" in each]


def test_the_status_is_what_the_driver_writes() -> None:
    [told] = [each for block in blocks("yaml") for each in yaml.safe_load_all(block) if "devices" in each]
    record = hook_cases.record(hook_cases.VF, (4, 5))
    ips = tuple(told["devices"][0]["networkData"]["ips"])
    noted = attached_vfs.AttachedVf(
        pci=record.pci, claim="u", container_id="c1", ifname="net1", mac="02:00:00:00:00:01", addresses=ips
    )
    device = grants.GrantedDevice(record.pci, "vf", claims.POOL, "0000-01-10-0")
    grant = grants.ClaimGrant(uid="u", namespace="ml", name="rails", devices=(device,))
    now = told["devices"][0]["conditions"][0]["lastTransitionTime"]
    written = states.wanted(claims.DRIVER, grant, {}, lambda _: states.SeenVf(noted), now)
    assert json.loads(msgspec.json.encode(list(written.values()))) == told["devices"]
    assert set(re.findall(r"^\| `([A-Z]\w+)` \| `(?:True|False)`", PAGE, re.MULTILINE)) == set(
        re.findall(r'_condition\(_\w+, "(\w+)"', pathlib.Path(states.__file__).read_text())
    )


@pytest.mark.parametrize("version", ["1.34", "1.37"])
def test_a_cluster_takes_the_objects(version: str) -> None:
    """The DeviceClass for old pods has a field that 1.34 knows, too: its gate is another matter."""
    assert [kinds.violation(each, version) for each in objects()] == [None] * 6


def test_the_vf_networks_are_ones() -> None:
    [claim] = [each for each in objects() if each["kind"] == "ResourceClaim"]
    told = [each["opaque"]["parameters"] for each in claim["spec"]["devices"]["config"]]  # type: ignore[index]
    read = [networks.read("a", reading._checked("config", each), "0000:01:10.0", lambda _: {}) for each in told]
    assert [(each.interface, each.configuration) for each in read] == [
        ("rail0", {"vlan": 100, "trust": "on"}),
        ("rail1", {"vlan": 200}),
    ]


def test_the_hook_says_what_the_page_shows(tmp_path: pathlib.Path) -> None:
    command = ["unshare", "--user", "--net", "sh", "-c", "echo; cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as container:
        assert container.stdout is not None
        container.stdout.readline()
        done = hook_cases.call(hooks.program(), tmp_path, hook_cases.state(container.pid))
        container.communicate()
    assert done.stderr.decode() == blocks("text")[0]


def test_the_hook_is_made_as_the_page_says() -> None:
    [command] = re.findall(r"`(hack/build-shim .*?)`", PAGE)
    made = hooks.program(*command.split()[2:])
    assert (ROOT / "build") in made.parents
    assert made.read_bytes().startswith(b"\x7fELF")


def test_the_opt_out_is_one() -> None:
    given = reading._checked("config", json.loads(blocks("json")[-1]))
    assert networks.read("vf", given, "0000:01:10.0", lambda _: {}).unattached == "host-device has it"


def test_attributes_and_taints_are_those_that_are_published() -> None:
    one = test_slices.vfs(1, bridges=test_slices.BRIDGES, numa_node=0)
    dealt = test_slices.pool(one)
    found = attributes.attributes(dealt.devices[0], dealt)
    named = re.findall(r"`([^`]+)`", PAGE[PAGE.index("## Attributes") : PAGE.index("## Taints")])
    assert set(found) <= set(named)
    assert set(re.findall(r"^\| `sriov-underlay/([a-z-]+)` \|", PAGE, re.MULTILINE)) == {
        each.value for each in health.AilmentKind
    }
