"""What README and the quick start let root type on a node, typed in their order, and what is to be seen then.

The whole way of README: VFs, an environment, the wheel, the installer, the programs that look. What a real systemd
does is seen in the guest, and demo and tests are not started by a test.
"""

import json
import pathlib
import re
import tempfile
from collections.abc import Iterator

import pytest

from tests.deploy import machines, pages
from tests.fakes import pod_resources

ROOT = pathlib.Path(__file__).parents[2]
BY_CI = ("./hack/demo", "./hack/test")
BY_TESTS = {
    "hack/demo --mock": ("docs/quickstart.md", "tests/hack/test_demo.py"),
    "systemctl enable --now sriov-cni.socket sriov-cni.service sriov-device-plugin.service": (
        "README.md",
        "tests/lab/installing/test_installing.py",
    ),
}
"""The page where the line is, and who takes it from there."""
PROGRAMS = "/opt/sriov-underlay/bin"
SEEN = {
    "ip link set ens1f0 up": "",
    "echo 8 > ": "",
    "python3 -m venv ": "",
    f"{PROGRAMS}/pip install --require-hashes ": "Successfully installed ",
    f"{PROGRAMS}/pip install --no-deps ": "Successfully installed sriov-underlay-",
    f"{PROGRAMS}/sriov-underlay install": "/etc/systemd/system/sriov-cni.service\n",
    f"{PROGRAMS}/sriov-device-plugin --dry-run ": "intel.com/rail_a_fast: 4 devices\n",
    f"{PROGRAMS}/sriovctl inventory": "default/web (no ADD yet)",
    f"{PROGRAMS}/sriovctl doctor": "SEVERITY  FINDING",
    f"{PROGRAMS}/sriovctl explain default/web": "QUESTION ",
}
"""By what a line begins with, a part of what is printed."""
FINDING = ("doctor", "explain")
"""They end with 1 where something is wrong: this node has no daemon that runs."""


@pytest.fixture
def machine() -> Iterator[machines.Machine]:
    with tempfile.TemporaryDirectory(prefix="tm", dir="/tmp") as folder, machines.made(pathlib.Path(folder)) as made:
        yield made


def typed(page: str) -> list[str]:
    return [line for block in pages.blocks(page, "# ") for line in block if line not in (*BY_CI, *BY_TESTS)]


@pytest.mark.root
def test_what_root_types_does_what_the_pages_say(machine: machines.Machine) -> None:
    [config] = [
        block
        for block in re.findall(r"```json\n(.*?)```", pages.text("README.md"), re.DOTALL)
        if "resourceList" in block
    ]
    machine.write("/etc/pcidp/config.json", config)
    api = pod_resources.PodResources({("default", "web"): [[("intel.com/rail_a_fast", ["0000:01:10.0"])]]})
    (machine.kubelet / "pod-resources").mkdir()
    with pod_resources.serving(machine.kubelet / "pod-resources/kubelet.sock", api):
        for line in [*typed("README.md"), *typed("docs/quickstart.md")]:
            [seen] = [said for start, said in SEEN.items() if line.startswith(start)]
            done = machine.types(line, online="/pip " in line)
            fine = done.returncode in ((0, 1) if any(word in line for word in FINDING) else (0,))
            assert (fine, seen in done.stdout) == (True, True), (line, done)
    assert machine.types(f"{PROGRAMS}/sriov-underlay status").returncode == 0
    told = json.loads(machine.types("ip --json link show ens1f0").stdout)
    assert "UP" in told[0]["flags"]
    assert machine.types("cat /sys/class/net/ens1f0/device/sriov_numvfs").stdout == "8\n"
    assert machine.types("od -A n -c -N 4 /opt/cni/bin/sriov").stdout.split() == ["177", "E", "L", "F"]


@pytest.mark.root
def test_a_slip_is_told(machine: machines.Machine) -> None:
    for line in typed("README.md")[:3]:
        done = machine.types(line.replace("ens1f0", "ens1f1").replace("-m venv", "-m venw"))
        assert done.returncode != 0, line


def test_ci_types_what_no_test_can() -> None:
    ran = [line.split()[0] for line in (ROOT / ".ci/run").read_text().splitlines() if line.startswith("hack/")]
    assert [f"./{each}" for each in sorted(ran)] == sorted(BY_CI)
    assert {*BY_CI} <= {line for block in pages.blocks("README.md", "# ") for line in block}


@pytest.mark.parametrize("line", BY_TESTS)
def test_another_test_takes_the_line_from_its_page(line: str) -> None:
    page, file = BY_TESTS[line]
    assert [line] == [each for block in pages.blocks(page, "# ") for each in block if each == line]
    text = (ROOT / file).read_text()
    assert f'pages.blocks("{page}", "# ")' in text
    assert f'.startswith("{line.partition(" ")[0]} ")' in text
