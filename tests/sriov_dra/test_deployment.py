"""deploy/kustomize/dra: what the API server takes, what the driver understands, and no privilege beyond that."""

import os
import pathlib
import re
from typing import Any

import pytest
import yaml

from sriov_dra import api, flags
from tests.deploy import rendering
from tests.fakes.cluster import kinds

FOLDER = rendering.BASE / "dra"
WRITTEN = {"claims", "cdi", "plugin", "registry"}


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> list[rendering.Object]:
    """The component alone; an overlay has the base, too."""
    overlay = tmp_path_factory.mktemp("overlay")
    component = os.path.relpath(FOLDER, overlay)
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump({"components": [component]}))
    return rendering.kustomize(overlay)


def driver(objects: list[rendering.Object]) -> Any:
    return rendering.only(objects, "DaemonSet")["spec"]["template"]["spec"]


@pytest.mark.parametrize("version", ["1.34", "1.37"])
def test_a_cluster_takes_every_object(objects: list[rendering.Object], version: str) -> None:
    assert [kinds.violation(each, version) for each in objects] == [None] * len(objects)
    assert {each["kind"] for each in objects} == {
        *("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "DaemonSet"),
        *("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"),
    }


def test_the_driver_takes_its_arguments_and_its_names_are_the_policys(objects: list[rendering.Object]) -> None:
    pod = driver(objects)
    [container] = pod["containers"]
    given = flags.parser().parse_args(container["args"])
    assert {each["name"] for each in container["env"]} == {"NODE_NAME", "POD_UID"}
    mounts = {each["mountPath"] for each in container["volumeMounts"]}
    assert {
        str(given.cdi_dir),
        f"{given.kubelet_root_dir}/plugins/{given.driver_name}",
        f"{given.run_dir}/claims",
    } <= mounts
    slices, status = (each["spec"] for each in objects if each["kind"] == "ValidatingAdmissionPolicy")
    for policy in (slices, status):
        assert f'"{given.driver_name}"' in policy["validations"][2]["expression"]
        assert f':{pod["serviceAccountName"]}"' in policy["matchConditions"][0]["expression"]
    assert f'"{given.driver_name}"' in status["validations"][0]["expression"]
    bindings = [each for each in objects if each["kind"] == "ValidatingAdmissionPolicyBinding"]
    names = [each["metadata"]["name"] for each in objects if each["kind"] == "ValidatingAdmissionPolicy"]
    assert [each["spec"]["policyName"] for each in bindings] == names


def test_it_has_no_privilege_and_writes_four_folders(objects: list[rendering.Object]) -> None:
    pod = driver(objects)
    [container] = pod["containers"]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {each["name"] for each in container["volumeMounts"] if not each.get("readOnly")} == WRITTEN


def test_its_role_is_what_it_asks_for(objects: list[rendering.Object]) -> None:
    """From 1.36 on a claim's status needs `resourceclaims/driver` too, by the driver's name and the request's verb
    (kubernetes pkg/registry/resource/utils.go, AuthorizedForDeviceStatus)."""
    verbs = {"post": "create", "put": "update"}
    asked = {
        "/".join(filter(None, (each._api_info.plural, each._api_info.action))): {
            verbs.get(verb, verb) for verb in each._api_info.verbs
        }
        for each in (api.ResourceSlice, api.ResourceClaim, api.ResourceClaimStatus, api.PublishingNode)
    }
    rules = rendering.only(objects, "ClusterRole")["rules"]
    [granular] = [rule for rule in rules if "resourceNames" in rule]
    assert granular["resourceNames"] == ["sriov-underlay"]
    asked["resourceclaims/driver"] = {f"associated-node:{verb}" for verb in asked["resourceclaims/status"]}
    assert {rule["resources"][0]: set(rule["verbs"]) for rule in rules} == asked


def test_the_page_names_the_folder_and_its_values_are_the_charts() -> None:
    page = (pathlib.Path(__file__).parents[2] / "docs/dra.md").read_text()
    assert "deploy/kustomize/dra" in page
    [values] = [text for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "\ndra:" in text]
    rendered = rendering.chart(yaml.safe_load(values))
    [made] = [each["metadata"]["name"] for each in rendered if each["kind"] == "DeviceClass"]
    assert f"here `{made}`" in page
    assert "sriov-underlay-dra" in {each["metadata"]["name"] for each in rendered if each["kind"] == "DaemonSet"}
