"""A node administrator's commands in the pages, from the installation out of the wheel to its end, on one node."""

import contextlib
import functools
import pathlib
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence

import pytest

from tests import artefacts, conftest
from tests.examples import node as nodes
from tests.examples import pages, table
from tests.kernel import namespaces

CONFIG = '{"resourceList": [{"resourceName": "rail_a", "selectors": {"pfNames": ["ens1f0"]}}]}'
LOOKS = {
    "sriovctl inventory": "DEVICE        WHAT            NETDEV    DRIVER",
    "sriovctl attachments": "no pod has a VF\n",
    "sriovctl doctor": "SEVERITY  FINDING",
    "sriovctl explain": "QUESTION ",
    "sriovctl topology": "root pci0000:00\n└─ PF 0000:01:00.0 ens1f0 igb\n",
    "sriov-device-plugin --dry-run": "DEVICE        WHAT  PF        DRIVER",
}
"""Commands that only look, and how what they print begins."""
CONTROL = "kubelet.sock"
"""The stand-in kubelet's, in the reader's folder."""
KUBELET = (
    f"env PYTHONPATH={pages.ROOT} {sys.executable} -P -m tests.fakes.kubelet --dir /var/lib/kubelet --control {CONTROL}"
)


@pytest.fixture
def node(tmp_path: pathlib.Path) -> Iterator[nodes.Node]:
    """Its reader has a checkout's lock file and the wheel; it has a configuration, and a kubelet that is a stand-in."""
    try:
        wheel = artefacts.wheel()
    except artefacts.BuildError as error:
        if conftest.MUST_RUN:
            raise
        pytest.skip(str(error))
    reader = tmp_path / "reader"
    reader.mkdir()
    for path in (wheel, artefacts.PROJECT / "requirements.lock"):
        shutil.copy(path, reader)
    with nodes.made(tmp_path, reader) as made, made.running(KUBELET):
        assert namespaces.until((reader / CONTROL).exists)
        made.configure(CONFIG)
        yield made


@pytest.mark.root
def test_what_is_typed_on_a_node(node: nodes.Node) -> None:
    todo = table.run_by(__file__, "test_what_is_typed_on_a_node")
    installation, todo = taken(todo, "docs/systemd.md")
    migration, todo = taken(todo, "docs/migration.md", "sriov-underlay")
    daemons, todo = taken(todo, "docs/metrics.md")
    [plugin], todo = taken(todo, "docs/deviceplugin.md")
    [completion], todo = taken(todo, "docs/sriovctl.md", "eval ")
    [debugging], todo = taken(todo, "docs/troubleshooting.md", "pkill ")
    [replacing], todo = taken(todo, "docs/troubleshooting.md", "sriov-underlay ")
    installation, foreground = installation[:5], installation[5:]
    install(node, installation)
    run_in_the_foreground(node, foreground)
    watch(node, daemons, debugging, dict.fromkeys(each.command for each in todo))
    with going_on(node, plugin.command, "the kubelet watches intel.com/rail_a"):
        pass
    assert "-F _sriovctl_completion" in succeeds(node, f"{completion.command}; complete -p sriovctl")
    file = "/usr/local/share/bash-completion/completions/sriov-device-plugin"
    assert "-F _shtab_sriov_device_plugin" in succeeds(node, f". {file}; complete -p sriov-device-plugin")
    replacing_and_enabling, status, back = (each.command for each in migration)
    change_over(node, [replacing.command, replacing_and_enabling], status, back)


def taken(
    examples: Sequence[pages.Example], page: str, start: str = ""
) -> tuple[list[pages.Example], list[pages.Example]]:
    """Those of the page whose commands begin so, and the others."""
    found = [each for each in examples if each.page == page and each.command.startswith(start)]
    assert found, f"{page} has nothing that begins with {start!r}"
    return found, [each for each in examples if each not in found]


def succeeds(node: nodes.Node, line: str, *, online: bool = False) -> str:
    ran = node.types(line, online=online)
    assert ran.status == 0, (line, ran.said)
    return ran.said


def install(node: nodes.Node, examples: Sequence[pages.Example]) -> None:
    """Into an environment of its own; what is not in the lock file or is another by its hash is not taken."""
    *_, status = (succeeds(node, each.command, online="/pip " in each.command) for each in examples)
    assert status.count(f"as version {artefacts.VERSION} installs it") == 5, status
    enabled = succeeds(node, "ls /etc/systemd/system/*.wants")
    assert {"sriov-cni.service", "sriov-cni.socket", "sriov-device-plugin.service"} <= {*enabled.split()}


def run_in_the_foreground(node: nodes.Node, examples: Sequence[pages.Example]) -> None:
    """In the page's order, and in the other one: each waits for what it needs."""
    shim, cni, plugin, asked = examples
    succeeds(node, f"rm /opt/cni/bin/sriov && {shim.command} && test -x /opt/cni/bin/sriov")
    listens, registered = "listening on /run/sriov/cni.sock", "the kubelet watches intel.com/rail_a"
    for first, second in (((cni, listens), (plugin, registered)), ((plugin, registered), (cni, listens))):
        with going_on(node, first[0].command, first[1]), going_on(node, second[0].command, second[1]):
            assert succeeds(node, f"{asked.command} 2>/dev/null") == asked.printed
            assert succeeds(node, "stat --format %a /run/sriov; ls /var/lib/kubelet/device-plugins").split() == [
                *("700", "intel.com_rail_a.sock", "kubelet.sock")
            ]


@contextlib.contextmanager
def going_on(node: nodes.Node, line: str, until: str) -> Iterator[pathlib.Path]:
    """A daemon, once it has said so; yields its log."""
    with node.running(line) as log:
        assert namespaces.until(functools.partial(said, log, until)), log.read_text()
        yield log


def said(log: pathlib.Path, text: str) -> bool:
    return text in log.read_text()


def watch(node: nodes.Node, daemons: Sequence[pages.Example], debugging: pages.Example, looks: Iterable[str]) -> None:
    """Both daemons with their endpoints; whatever looks at the node."""
    plugin, cni, asked, chatty = daemons
    with (
        going_on(node, plugin.command, "the kubelet watches intel.com/rail_a"),
        going_on(node, cni.command, "listening on /run/sriov/cni.sock") as log,
    ):
        assert succeeds(node, f"{asked.command} 2>/dev/null") == asked.printed
        assert chatty.command == debugging.command
        for line, level in ((chatty.command, "debug"), (chatty.command.replace("USR1", "USR2"), "info")):
            succeeds(node, line)
            assert namespaces.until(functools.partial(said, log, f"level is now {level}")), log.read_text()
        for line in looks:
            [begins] = [begins for program, begins in LOOKS.items() if line.startswith(program)]
            ran = node.types(line)
            assert ran.said.startswith(begins), (line, ran.said)
            assert ran.status == ("explain" in line), "explain ends with 1 where a pod has no VF"


def change_over(node: nodes.Node, replacing: Sequence[str], status: str, back: str) -> None:
    """From another plugin of that name, and back to it."""
    plugin = "/opt/cni/bin/sriov"
    succeeds(node, back)
    succeeds(node, f"cp /bin/true {plugin}")
    for replace in replacing:
        succeeds(node, replace)
        succeeds(node, f"cmp /bin/true {plugin}.before-sriov-underlay && ! cmp -s /bin/true {plugin}")
        succeeds(node, status)
        succeeds(node, back)
        succeeds(node, f"cmp /bin/true {plugin} && ! ls /run/sriov 2>/dev/null")
