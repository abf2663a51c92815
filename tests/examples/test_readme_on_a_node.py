"""Root's commands in README and the quick start, typed in their order, and the results that they promise.

The whole way of README: VFs, an environment, the wheel, the installer, the programs that look. What a real systemd
does is seen in the guest, and demo and tests are not started by a test.
"""

import json
import pathlib
import re
import tempfile
from collections.abc import Iterator

import pytest

from tests.examples import node as nodes
from tests.examples import pages, table
from tests.fakes import pod_resources

PROGRAMS = "/opt/sriov-underlay/bin"
SEEN = {
    "ip link set ens1f0 up": "",
    "echo 8 >": "",
    "python3 -m venv ": "",
    f"{PROGRAMS}/pip install --require-hashes ": "Successfully installed ",
    f"{PROGRAMS}/pip install --no-deps ": "Successfully installed sriov-underlay-",
    f"{PROGRAMS}/sriov-underlay install": "/etc/systemd/system/sriov-cni.service\n",
    f"{PROGRAMS}/sriov-device-plugin --dry-run ": "intel.com/rail_a_fast: 4 devices\n",
    f"{PROGRAMS}/sriovctl inventory": "default/web (no ADD yet)",
    f"{PROGRAMS}/sriovctl doctor": "SEVERITY  FINDING",
    f"{PROGRAMS}/sriovctl explain default/web": "QUESTION ",
    "sriov-underlay status": " installs it",
}
"""By what a line begins with, a part of what is printed."""
FINDING = ("doctor", "explain")
"""They end with 1 where something is wrong: this node has no daemon that runs."""


@pytest.fixture
def node() -> Iterator[nodes.Node]:
    """Typed at in a checkout. Its folder has a short path, since sockets will be in it."""
    with (
        tempfile.TemporaryDirectory(prefix="tn", dir="/tmp") as name,
        nodes.made(pathlib.Path(name), pages.ROOT) as made,
    ):
        yield made


def typed() -> list[str]:
    return [each.command for each in table.run_by(__file__, "test_what_root_types_does_what_the_pages_say")]


@pytest.mark.root
def test_what_root_types_does_what_the_pages_say(node: nodes.Node) -> None:
    [config] = [
        block
        for block in re.findall(r"```json\n(.*?)```", pages.text("README.md"), re.DOTALL)
        if "resourceList" in block
    ]
    node.configure(config)
    api = pod_resources.PodResources({("default", "web"): [[("intel.com/rail_a_fast", ["0000:01:10.0"])]]})
    (node.kubelet / "pod-resources").mkdir()
    with pod_resources.serving(node.kubelet / "pod-resources/kubelet.sock", api):
        for line in typed():
            [seen] = [said for start, said in SEEN.items() if line.startswith(start)]
            ran = node.types(line, online="/pip " in line)
            fine = ran.status in ((0, 1) if any(word in line for word in FINDING) else (0,))
            assert (fine, seen in ran.said) == (True, True), (line, ran)
    told = json.loads(node.types("ip --json link show ens1f0").said)
    assert "UP" in told[0]["flags"]
    assert node.types("cat /sys/class/net/ens1f0/device/sriov_numvfs").said == "8\n"
    assert node.types("od -A n -c -N 4 /opt/cni/bin/sriov").said.split() == ["177", "E", "L", "F"]


@pytest.mark.root
def test_a_slip_is_told(node: nodes.Node) -> None:
    for line in typed()[:3]:
        slip = line.replace("ens1f0", "ens1f1").replace("-m venv", "-m venw")
        assert slip != line
        assert node.types(slip).status != 0, line
