"""The programs accept the arguments in the manifests, and everything they read is mounted where they look."""

import argparse
import json
import pathlib

import pytest
import yaml

from deviceplugin import flags
from sriov.pools import config
from sriov_agent import app as agent
from sriov_cni import flags as cni_flags
from sriov_dra import flags as dra_flags
from tests.deploy import rendering, test_rendering
from tests.deploy.rendering import Object

PARSERS: dict[str, argparse.ArgumentParser] = {
    "device-plugin": flags.parser(),
    "cni-daemon": cni_flags.parser(),
    "agent": agent._parser(),
    "dra-driver": dra_flags.parser(),
}
_FILES = (
    "config_file",
    "policy",
    "pod_resources_socket",
    "log_level_file",
    "cluster_socket",
    "cluster_snapshot",
    "policy_socket",
    "policy_snapshot",
)


def parsed(container: Object) -> dict[str, object]:
    return vars(PARSERS[container["name"]].parse_args(container["args"]))


@pytest.mark.parametrize("variant", test_rendering.VARIANTS)
def test_every_folder_that_a_program_is_told_of_is_mounted(variant: str) -> None:
    """Those of its flags, said or by default; the container's own /sys, /proc and /dev show the node's hardware."""
    values = test_rendering.VARIANTS[variant]
    forgone = {pathlib.Path("/var/lib/cni/sriov")} if values.get("cni", {}).get("predecessorDir") == "" else set()
    extra = {pathlib.Path(each["mountPath"]) for each in values.get("cniDaemon", {}).get("extraVolumeMounts", [])}
    daemonsets = [each for each in rendering.chart(values) if each["kind"] == "DaemonSet"]
    for name, container in (each for daemonset in daemonsets for each in rendering.containers(daemonset).items()):
        if name in PARSERS:
            mounted = {pathlib.Path(each["mountPath"]) for each in container["volumeMounts"]}
            if name == "dra-driver":
                assert of_driver(parsed(container)) | extra == mounted
                continue
            assert wanted(parsed(container)) - forgone | extra == mounted


def of_driver(given: dict[str, object]) -> set[pathlib.Path]:
    """The folders of the DRA driver. What it writes has the same path on the node, whose runtime and kubelet use it."""
    found = {key: value for key, value in given.items() if isinstance(value, pathlib.Path)}
    kubelet = found.pop("kubelet_root_dir")
    below = (f"plugins/{given['driver_name']}", "plugins_registry", "device-plugins", "pod-resources")
    shown = {pathlib.Path("/host/sys"), pathlib.Path("/host/proc")}
    assert found.pop("sysfs") in shown and found.pop("procfs").parent in shown and found.pop("dev")
    found["config_file"] = found["config_file"].parent
    return {*found.values(), found["run_dir"] / "claims", *(kubelet / each for each in below), *shown}


def wanted(given: dict[str, object]) -> set[pathlib.Path]:
    """The folders that a program uses, by what it was given."""
    found = {key: value for key, value in given.items() if isinstance(value, pathlib.Path)}
    for own in ("sysfs", "procfs", "dev"):
        found.pop(own, None)
    for table, is_removed in (("cluster", given.get("remove_services")), ("policy", None)):
        if f"{table}_snapshot" in found:
            if socket := found.pop(f"{table}_socket", None):  # the daemon's own, in its run directory
                assert socket.parent.parent == found["run_dir"]
            elif not is_removed:
                found.pop(f"{table}_snapshot")
    if given.get("policies") == "off":
        found.pop("policy_socket")
    for file in _FILES:
        if file in found:
            found[file] = found[file].parent
    if "kubelet_root_dir" in found:
        sockets = "plugins_registry" if given["registration"] == "watcher" else "device-plugins"
        found["kubelet_root_dir"] /= sockets
    if not given.get("use_cdi"):
        found.pop("cdi_dir", None)
    if given.get("counters_interval") and given["http"]:  # no flag says where runtimes keep namespaces: they do
        found["netns"] = pathlib.Path("/run/netns")
    return set(found.values())


def test_the_configuration_is_one(tmp_path: pathlib.Path) -> None:
    written = rendering.only(rendering.chart(), "ConfigMap")["data"]["config.json"]
    path = tmp_path / "config.json"
    path.write_text(written)
    loaded = config.load(path, "intel.com")
    assert [each.full_name for each in loaded.resources] == ["intel.com/sriov_vf"]
    assert not loaded.warnings


def test_the_schema_and_the_values_have_the_same_keys() -> None:
    """A key that only the values have is refused, one that only the schema has is in nobody's sight."""
    schema = json.loads((rendering.CHART / "values.schema.json").read_text())
    values = yaml.safe_load((rendering.CHART / "values.yaml").read_text())
    groups = schema["properties"]
    assert set(values) == set(groups) - {"global"}
    of_others = {name for name, group in groups.items() if group.get("$ref", "").startswith("#/$defs/")}
    for name in set(values) - of_others:
        group = (
            schema["definitions"][groups[name]["$ref"].rpartition("/")[2]] if "$ref" in groups[name] else groups[name]
        )
        assert set(group.get("properties", {})) == (set(values[name]) if "properties" in group else set())
    for name, group in groups["metrics"]["properties"].items():
        assert set(group["properties"]) == set(values["metrics"][name])
