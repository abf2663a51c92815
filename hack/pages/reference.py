"""docs/configuration.md: every key and flag with its type and default, as the code has them.

Types are those of the structures that decode, defaults those of an empty configuration once decoded, flags those of the
programs' own help. Meanings of keys are taken from the pages that explain them, the rest from `meanings`; a key without
a meaning is an error.
"""

import os
import pathlib
import re
import subprocess
import sys
import types
import typing
from collections.abc import Mapping

import msgspec

from hack.pages import key_descriptions
from sriov.pools import config as plugin_conf
from sriov.pools import resources, selector_config
from sriov_cni.context import policy_rules
from sriov_cni.spec import environment, netconf, vf_request

_ROOT = pathlib.Path(__file__).parents[2]
_INTRO = """\
<!-- Made by hack/gen-docs. Change the code, or the pages that it takes meanings from, and run it again. -->

# Configuration reference

Every key and flag, with type and default. This page is generated from the programs' code. How the keys work together
is explained in [the device plugin](deviceplugin.md), [the CNI plugin](cni.md) and [creating VFs](provisioning.md).
"""


def page(docs: pathlib.Path) -> str:
    return "\n".join(
        [
            _INTRO,
            "## Resources\n",
            "Entries of `resourceList` in `/etc/pcidp/config.json`. Keys are read in any case, as Go does.\n",
            _resources((docs / "deviceplugin.md").read_text()),
            "## Selectors\n",
            "Of a resource. Values of a key are alternatives; all keys must match. A missing key limits nothing.\n",
            _selectors(),
            "## Network configuration\n",
            "The keys that CNI itself defines (`cniVersion`, `name`, `type`) are not listed here.\n",
            _networks((docs / "cni.md").read_text()),
            "## The node's policy\n",
            "Rules in `/etc/sriov-underlay/policy.json`. The first rule that names the VF's PF decides.\n",
            _policy(policy_rules.Rule, key_descriptions.POLICY),
            "Its `defaults` count for a network that does not name the key.\n",
            _policy(policy_rules.NetworkDefaults, key_descriptions.DEFAULTS),
            "## Flags of the device plugin\n",
            "`sriov-device-plugin`, or `python -m deviceplugin`. In parentheses: the default.\n",
            _flags("deviceplugin"),
            "## Flags of the CNI daemon\n",
            "`sriov-cni-daemon`, or `python -m sriov_cni`. In parentheses: the default.\n",
            _flags("sriov_cni"),
            "## Flags of the agent\n",
            "`sriov-agent`, or `python -m sriov_agent`. In parentheses: the default.\n",
            _flags("sriov_agent"),
            "## Flags of the DRA driver\n",
            "`sriov-dra-driver`, or `python -m sriov_dra`. In parentheses: the default.\n",
            _flags("sriov_dra"),
        ]
    )


def _resources(explained: str) -> str:
    """Make the section; defaults are those of a resource that states only its name."""
    [read] = plugin_conf.parse(b'{"resourceList": [{"resourceName": "x"}]}', "", "intel.com").resources
    defaults = {
        "resourceName": "required",
        "resourcePrefix": "the flag's",
        "deviceType": f"`{read.kind.value}`",
        "excludeTopology": read.exclude_topology,
        "selectors": "every VF",
        "additionalInfo": "none",
        "checkHealthOnPf": read.checks.pf,
        "checkHealthOnDeviceExist": plugin_conf._RawResource().check_health_on_device_exist,
        "checkHealthOnDriver": read.checks.driver,
        "checkHealthOnCleanup": read.checks.cleanup,
        "allocationPolicy": f"`{read.policy.value}`",
        "offerHostAddresses": read.host_addresses,
        "publish": f"`{read.publish.value}`",
    }
    told = _told(explained, "Keys of a resource", "deviceplugin.md")
    hints = typing.get_type_hints(plugin_conf._RawResource)
    kinds = dict(zip(plugin_conf.RESOURCE_KEYS, hints.values(), strict=True))
    kinds["selectors"] = dict | list
    return _table(
        ["key", "type", "default", "meaning"],
        [[f"`{key}`", _type(kinds[key]), _shown(defaults[key]), told[key][-1]] for key in plugin_conf.RESOURCE_KEYS],
    )


def _selectors() -> str:
    fields = msgspec.structs.fields(selector_config._Raw)
    rows = []
    for field in fields:
        kinds = [f"`{kind.value}`" for kind in resources.DeviceType if field.encode_name in selector_config.KEYS[kind]]
        of = "all" if len(kinds) == len(resources.DeviceType) else ", ".join(kinds)
        rows.append([f"`{field.encode_name}`", _type(field.type), of, key_descriptions.SELECTORS[field.encode_name]])
    return _table(["key", "type", "deviceType", "selects devices"], rows)


def _networks(explained: str) -> str:
    """Make the section; defaults are those of a configuration that names only a VF, if they have a value."""
    read = vf_request.read(netconf.decode(b'{"deviceID": "0000:01:10.0"}'), environment.Arguments())
    wanted = read.wanted
    defaults: dict[str, object] = {
        "vlan": wanted.vlan,
        "vlanQoS": wanted.qos,
        "vlanProto": f"`{wanted.proto.value}`",
        "spoofchk": _switch(wanted.spoofchk),
        "trust": _switch(wanted.trust),
        "allmulti": _switch(read.allmulti),
        "link_state": f"`{wanted.link_state.value}`",
        "min_tx_rate": wanted.min_tx_rate,
        "max_tx_rate": wanted.max_tx_rate,
    }
    told = _told(explained, "Keys", "cni.md")
    fields = [field for field in msgspec.structs.fields(vf_request.Asked) if field.encode_name in vf_request.KEYS]
    rows = [
        [f"`{key}`", told[key][0], _shown(defaults.get(key, told[key][1])), told[key][2]]
        for key in (field.encode_name for field in fields)
    ]
    return _table(["key", "type", "default", "values"], rows)


def _policy(kind: type[msgspec.Struct], meanings: Mapping[str, str]) -> str:
    rows = []
    for field in msgspec.structs.fields(kind):
        default = "no limit" if field.default is None else _shown(field.default)
        rows.append([f"`{field.encode_name}`", _type(field.type), default, meanings[field.encode_name]])
    return _table(["key", "type", "if left out", "meaning"], rows)


def _flags(module: str) -> str:
    """Make the section from the program's own help, one line for each option."""
    command = [sys.executable, "-P", "-m", module, "--help"]
    environment = {**os.environ, "COLUMNS": "400", "NO_COLOR": "1", "PYTHONPATH": str(_ROOT)}
    done = subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True, check=True)
    found = re.findall(r"^  (-.*?)(?:(?:  +|\n {10,})(\S.*))?$", done.stdout, re.MULTILINE)
    rows = []
    for names, text in found:
        shown = dict.fromkeys(re.findall(r"--[a-z][\w-]*", names))
        if "--help" not in shown:
            rows.append([", ".join(f"`{name}`" for name in shown), text.replace("|", "\\|")])
    return _table(["flag", "meaning"], rows)


def _told(text: str, heading: str, name: str) -> dict[str, list[str]]:
    """Return, by key, the other cells of the first table below a heading; links within that page lead there."""
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0].replace("[below](#", f"[more]({name}#")
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", section, re.MULTILINE)
    return {key: [cell.strip() for cell in rest.split(" | ")] for key, rest in rows}


def _table(headings: list[str], rows: list[list[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _type(annotation: object) -> str:
    """Return the type's name in JSON."""
    parts = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    names = [_one_type(part) for part in parts if part is not types.NoneType]
    return " or ".join(dict.fromkeys(names))


def _one_type(annotation: object) -> str:
    origin = typing.get_origin(annotation) or annotation
    if isinstance(origin, type) and issubclass(origin, str):
        return "string"
    return {bool: "boolean", int: "number", list: "list", tuple: "list", dict: "object"}[origin]  # type: ignore[index]


def _switch(value: bool) -> str:
    return "`on`" if value else "`off`"


def _shown(value: object) -> str:
    return value if isinstance(value, str) else f"`{str(value).lower()}`"
