"""Shell on a node of the lab, `hack/lab shell`, where a stand-in kubelet, device plugin and CNI daemon run.

What is started here ends with the shell. `pod` is the only command of ours in it: hack.story.pod_command.
"""

import os
import pathlib
import shlex
import subprocess
import sys
import tempfile

from hack.story import node as nodes
from hack.story import stage as stages
from sriov.hardware import inventory

PREFIX = "lab.io"
RAILS = ("rail_a", "rail_b")

WELCOME = """
This is a guest with {pfs} PFs and {vfs} VFs of an emulated Intel 82576. A kubelet (a stand-in), the device plugin and
the CNI daemon run on it. Nothing you do here reaches your machine's files. Leave with exit.

  pod add red vlan=100 mac=02:00:00:00:00:01     a pod with a VF of {prefix}/{rail}; any key of docs/cni.md
  pod add blue resource={prefix}/{other} vlan=100
  ip netns exec red ping -c 3 ADDRESS            from one pod to another
  ip link show dev {netdev}                          what the PF says of its VFs
  pod list; pod del red                          who has what; the end of a pod, and its VF back as it was
  ip netns del blue                              a pod that dies without a DEL: see its VF come home
  $EDITOR $LAB_NODE/config.json                  the device plugin follows
  tail $LAB_NODE/*.log                           what they all say
"""


def main() -> int:
    stage = stages.Igb()
    with tempfile.TemporaryDirectory(prefix="lab-") as folder, nodes.running(stage, pathlib.Path(folder)) as node:
        found = inventory.scan(stage.tree)
        _start(node, found)
        [first, *_] = found.pfs.values()
        prefix, (rail, other) = PREFIX, RAILS
        print(WELCOME.format(pfs=len(found.pfs), vfs=len(found.vfs), prefix=prefix, rail=rail, other=other,
                             netdev=first.netdev))  # fmt: skip
        return _prompt(pathlib.Path(folder))


def _start(node: nodes.Node, found: inventory.Inventory) -> None:
    resources = [
        {"resourceName": rail, "resourcePrefix": PREFIX, "selectors": {"rootDevices": [pf]}}
        for rail, pf in zip(RAILS, found.pfs, strict=False)
    ]
    node.start_kubelet()
    node.start_device_plugin({"resourceList": resources})
    node.start_cni_daemon()
    for rail, pf in zip(RAILS, found.pfs.values(), strict=False):
        node.ask_kubelet(do="wait", resource=f"{PREFIX}/{rail}", devices=pf.numvfs, timeout=60)


def _prompt(folder: pathlib.Path) -> int:
    """Run an interactive shell in which `pod` is a command."""
    start = folder / "bashrc"
    command = shlex.join([sys.executable, "-P", "-m", "hack.story.pod_command"])
    size = f"stty columns {os.environ.get('COLUMNS', '80')} rows {os.environ.get('LINES', '24')}"
    start.write_text(f'{size}\npod() {{ {command} "$@"; }}\nPS1="lab# "\n')
    environment = os.environ | {"LAB_NODE": str(folder)}
    return subprocess.run(["bash", "--rcfile", start, "-i"], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
