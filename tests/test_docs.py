"""Configurations in the pages are accepted, and what the pages say of commands is true."""

import json
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from sriov.pools import config as plugin_conf
from sriov_cni.context import policy_rules
from sriov_cni.spec import cni_errors, environment, netconf, policy_modes, vf_request
from sriov_cni.spec.service_modes import ServicesMode
from sriov_installer import status

SOCKET = ServicesMode.SOCKET
ROOT = pathlib.Path(__file__).parents[1]


def examples(page: str) -> list[dict[str, object]]:
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)]


def test_the_readmes_device_plugin_configuration(tmp_path: pathlib.Path) -> None:
    [example] = [each for each in examples("README.md") if "resourceList" in each]
    path = tmp_path / "config.json"
    path.write_text(json.dumps(example))
    loaded = plugin_conf.load(path, "intel.com")
    assert [(each.prefix, each.name) for each in loaded.resources] == [
        ("intel.com", "rail_a_fast"),
        ("intel.com", "rail_a"),
    ]
    assert not loaded.warnings


@pytest.mark.parametrize("page", ["README.md", "docs/cni.md", "docs/services.md"])
def test_network_configurations(page: str) -> None:
    [example] = [each for each in examples(page) if each.get("type") == "sriov"]
    document = netconf.decode(json.dumps({"deviceID": "0000:01:10.0", **example}).encode())
    assert netconf.network(document).ipam == "host-local"
    asked = vf_request.read(document, environment.Arguments())
    assert (asked.wanted.vlan, asked.services) == (100, SOCKET if page == "docs/services.md" else None)


def test_the_network_list_for_nodes_without_multus() -> None:
    [example] = [each for each in examples("docs/cni.md") if "plugins" in each]
    plugins = example["plugins"]
    assert isinstance(plugins, list)
    [plugin] = plugins
    stdin = json.dumps({"cniVersion": example["cniVersion"], "name": example["name"], **plugin}).encode()
    wanted = vf_request.read(netconf.decode(stdin), environment.Arguments())
    assert (wanted.pci, wanted.resource, wanted.wanted.vlan) == (None, "intel.com/rail_a", 100)


def test_the_host_link() -> None:
    first, datagrams, second, addressed = (
        vf_request.read(netconf.decode(json.dumps(example).encode()), environment.Arguments()).host_link
        for example in examples("docs/host-link.md")
    )
    assert first is not None
    assert (first.name, [*map(str, first.via)]) == ("host0", ["10.244.0.0/16", "169.254.20.10/32"])
    assert datagrams is not None
    assert (datagrams.name, datagrams.udp, first.udp) == ("host0", True, False)
    assert second is not None
    assert (second.name, second.via, second.services) == ("host0", (), True)
    assert addressed is not None
    assert [*map(str, addressed.addresses)] == ["192.168.77.5/32"]


def test_the_network_policy() -> None:
    example, for_all = examples("docs/policy.md")
    wanted = vf_request.read(netconf.decode(json.dumps(example).encode()), environment.Arguments())
    assert wanted.policy == policy_modes.PolicyWish(policy_modes.PolicyMode.KUBERNETES)
    assert wanted.host_link is not None
    node = policy_rules.parse(json.dumps(for_all).encode(), "policy.json")
    assert node.defaults == policy_rules.NetworkDefaults(policy=policy_modes.PolicyMode.KUBERNETES, policy_raw=True)
    assert [(each.pfs, each.policy, each.policy_raw) for each in node.rules or ()] == [
        (("ens1f0",), (policy_modes.PolicyMode.KUBERNETES,), (True,)),
        (None, None, None),
    ]


def test_the_policy(tmp_path: pathlib.Path) -> None:
    wrote = [each for each in examples("docs/cni.md") if "rules" in each]
    path = tmp_path / "policy.json"
    read = []
    for example in wrote:
        path.write_text(json.dumps(example))
        read.append(policy_rules.load(path))
    limits, demand = read
    assert len(limits.rules or ()) == 2
    assert demand.rules == (policy_rules.Rule(services=(SOCKET,)),)
    assert demand.defaults == policy_rules.NetworkDefaults(SOCKET)


def test_every_key_of_the_network_configuration_is_on_the_page() -> None:
    page = (ROOT / "docs/cni.md").read_text()
    listed = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert listed == vf_request.KEYS


def test_every_error_code_is_on_the_page() -> None:
    page = (ROOT / "docs/cni.md").read_text()
    listed = {int(number) for number in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    assert listed == {int(code) for code in cni_errors.Code}


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/metrics.md"])
def test_files_and_folders_that_are_named_exist(page: str) -> None:
    named = set(
        re.findall(
            r"`(?:\./)?((?:hack|docs|tests|sriov|sriov_cni|sriovctl|sriov_installer|deviceplugin|deploy|proto)/[\w/.-]*)",
            (ROOT / page).read_text(),
        )
    )
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("module", ["deviceplugin", "sriov_cni"])
def test_the_programs_explain_themselves(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    named = set(re.findall(r"--[\w-]+", (ROOT / "README.md").read_text() + (ROOT / "docs/cni.md").read_text()))
    known = set(re.findall(r"--[\w-]+", done.stdout))
    assert known & named, "the pages show no option of it"


def test_every_flag_and_exit_status_on_the_installers_page_is_known() -> None:
    page = (ROOT / "docs/systemd.md").read_text()
    helps = [
        subprocess.run(
            [sys.executable, "-m", "sriov_installer", *command, "--help"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for command in (["install"], ["uninstall"], ["status"])
    ]
    foreign = {"--require-hashes", "--no-deps", "--log-level", "--config-file", "--http", "--cluster-socket"}
    foreign |= {"--policy-socket", "--policies"}
    foreign |= {"--system", "--uid", "--home-dir", "--shell"}  # useradd's
    named = set(re.findall(r"(?<![\w-])--[a-z][\w-]+", page)) - foreign
    assert named == set(re.findall(r"(?<![\w-])--[a-z][\w-]+", "".join(helps))) - {"--help"}
    for standing in status.Standing:
        assert f" {standing.value}: " in page


@pytest.mark.slow
def test_the_package_holds_both_programs(tmp_path: pathlib.Path) -> None:
    """What `pip install .` puts on a node. The installer finds the shim there."""
    source, installed = tmp_path / "source", tmp_path / "installed"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in (
        "sriov",
        "deviceplugin",
        "sriov_cni",
        "sriov_installer",
        "sriovctl",
        "deploy",
    ):
        shutil.copytree(ROOT / name, source / name)
    offline = ["--no-deps", "--no-build-isolation", "--no-index"]
    pip = [sys.executable, "-m", "pip", "-q", "install", *offline, "--target", str(installed), str(source)]
    subprocess.run(pip, check=True, capture_output=True)
    for program in ("sriov-device-plugin", "sriov-cni-daemon", "sriovctl"):
        command = [str(installed / "bin" / program), "--help"]
        subprocess.run(command, cwd="/", env={"PYTHONPATH": str(installed)}, check=True, capture_output=True)
    for folder in ("opt/cni/bin", "etc/systemd/system"):
        (tmp_path / folder).mkdir(parents=True)
    where = ["--root", str(tmp_path), "--programs-dir", "/installed/bin"]
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/python3").touch()
    install = [str(installed / "bin/sriov-underlay"), "install", *where]
    subprocess.run(install, cwd="/", env={"PYTHONPATH": str(installed)}, check=True)
    assert b"sriov-underlay 0." in (tmp_path / "opt/cni/bin/sriov").read_bytes()[-100:]
    assert len(list((tmp_path / "etc/systemd/system").iterdir())) == 3
