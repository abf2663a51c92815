"""ADD of a VF that a claim was given (DRA): only for the claim's pod, and with what the claim wants of the VF."""

import contextlib
import os
import pathlib
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from sriov import devices
from sriov.state import attached_vfs, grants
from sriov_cni.context import claims, policy
from sriov_cni.spec import environment
from tests.fakes import bench
from tests.sriov_cni import conftest, harness
from tests.sriov_cni.conftest import CniNode
from tests.sriov_cni.shim import shims

PAGE = pathlib.Path(__file__).parents[3] / "docs/dra.md"
POD = "IgnoreUnknown=1;K8S_POD_NAMESPACE=ml;K8S_POD_NAME=train-0"


@contextlib.contextmanager
def serving(tmp_path: pathlib.Path, **further: Any) -> Iterator[tuple[CniNode, grants.Grants]]:
    made = bench.make(tmp_path)
    run = tmp_path / "grants"
    socket = tmp_path / "cni.sock"
    with harness.daemon(made.node, made.book, socket, made.machine.adopt, claims=claims.PodClaims(run), **further):
        client = harness.Client(socket, "", made.machine.path("pod"), shims.command(shims.BOTH[0]))
        yield CniNode(made, client, tmp_path), grants.Grants(run)
    made.pod.close()
    made.machine.close()


@pytest.fixture
def claimed(tmp_path: pathlib.Path) -> Iterator[tuple[CniNode, grants.Grants]]:
    with serving(tmp_path) as made:
        yield made


def grant(pci: str, uid: str = "u1", pod: str = "pod-uid", **other: Any) -> grants.ClaimGrant:
    device = grants.GrantedDevice(pci, "vf", "node/intel.com/a", "x", **other)
    pods = (grants.GrantedPod("train-0", pod),)
    return grants.ClaimGrant(uid=uid, namespace="ml", name="rails", pods=pods, devices=(device,))


def test_a_granted_vf_goes_to_its_claims_pod_and_home_again(claimed: tuple[CniNode, grants.Grants]) -> None:
    cni, book = claimed
    book.create()
    book.write(grant(cni.vf))
    answer = cni.client.call("ADD", cni.conf(), ARGS=f"{POD};K8S_POD_UID=pod-uid")
    assert answer.code == 0, answer
    assert cni.client.call("CHECK", cni.conf(prevResult=answer.document), ARGS=f"{POD};K8S_POD_UID=pod-uid").code == 0
    book.remove("u1")  # as when nobody has waited: the way home needs no grant
    assert cni.client.call("DEL", cni.conf(), ARGS=f"{POD};K8S_POD_UID=pod-uid").code == 0
    assert list(cni.bench.book.records()) == []


def test_what_the_claims_pod_has_is_noted_once_its_add_has_ended_and_of_no_other_vf(
    claimed: tuple[CniNode, grants.Grants], tmp_path: pathlib.Path
) -> None:
    """For the claim's status: a VF of no claim leaves no file."""
    cni, book = claimed
    notes = attached_vfs.AttachedVfs(tmp_path / "grants")
    conf, path = cni.conf(ipam={"type": "fixed"}), str(cni.plugins)
    harness.ipam_plugin(cni.plugins, "fixed", f"[ $CNI_COMMAND != ADD ] || echo '{conftest.IPAM}'")
    for command in ("ADD", "DEL"):
        assert cni.client.call(command, conf, PATH=path).code == 0
    assert not notes.folder.exists()
    book.create()
    book.write(grant(cni.vf))
    harness.ipam_plugin(cni.plugins, "failing", "exit 1")
    assert cni.client.call("ADD", cni.conf(ipam={"type": "failing"}), PATH=path, ARGS=POD).code != 0
    assert not notes.folder.exists()
    answer = cni.client.call("ADD", conf, PATH=path, ARGS=POD)
    assert answer.code == 0, answer
    [record] = cni.bench.book.records()
    assert notes.of(record) == attached_vfs.AttachedVf(
        pci=record.pci,
        claim="u1",
        container_id="c1",
        ifname="net1",
        mac=answer.document["interfaces"][0]["mac"],
        addresses=("10.1.0.5/24",),
    )
    assert cni.client.call("DEL", conf, PATH=path, ARGS=POD).code == 0
    assert cni.client.call("ADD", conf, PATH=path, ARGS=POD, CONTAINERID="c2").code == 0
    assert notes.of(record) is None, "it is the next sandbox's"


def test_a_note_that_cannot_be_written_fails_no_add(
    claimed: tuple[CniNode, grants.Grants], tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    cni, book = claimed
    book.create()
    book.write(grant(cni.vf))
    (tmp_path / "grants/attached").write_text("")
    assert cni.client.call("ADD", cni.conf(), ARGS=POD).code == 0
    assert f"the status of claim ml/rails will not have VF {cni.vf}" in caplog.text


@pytest.mark.parametrize(
    ("args", "whose"),
    [
        (f"{POD};K8S_POD_UID=another", "ml/train-0"),  # of the same name: the pod was made again
        ("IgnoreUnknown=1;K8S_POD_NAMESPACE=ml;K8S_POD_NAME=old-0", "ml/old-0"),
        ("IgnoreUnknown=1;K8S_POD_NAMESPACE=other;K8S_POD_NAME=train-0", "other/train-0"),
        ("", "this call, without a pod"),
    ],
)
def test_no_other_pod_gets_it(claimed: tuple[CniNode, grants.Grants], args: str, whose: str) -> None:
    cni, book = claimed
    book.create()
    book.write(grant(cni.vf))
    answer = cni.client.call("ADD", cni.conf(), ARGS=args)
    assert answer.code == 11, answer
    assert (
        f"VF {cni.vf} is granted to claim ml/rails of pod ml/train-0, and not to {whose} | give the" in answer.message
    )
    assert list(cni.bench.book.records()) == []


def test_a_runtime_that_passes_no_uid_is_known_by_the_pods_name(claimed: tuple[CniNode, grants.Grants]) -> None:
    cni, book = claimed
    book.create()
    book.write(grant(cni.vf))
    assert cni.client.call("ADD", cni.conf(), ARGS=POD).code == 0


def test_what_the_claim_wants_counts_where_the_network_says_nothing(claimed: tuple[CniNode, grants.Grants]) -> None:
    cni, book = claimed
    book.create()
    book.write(grant(cni.vf, network={"vlan": 5, "mtu": 1400}))
    answer = cni.client.call("ADD", cni.conf(mtu=1300), ARGS=f"{POD};K8S_POD_UID=pod-uid")
    assert answer.code == 0, answer
    assert (cni.bench.vf_state().vlan, cni.bench.in_pod().mtu) == (5, 1300)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"vlan": 300}, "refuses vlan 300: it allows 100-199"),
        ({"vlan": 100, "trust": "on"}, "refuses trust on"),
        ({"vlan": 100, "spoofchk": "off"}, "refuses spoofchk off"),
        ({"vlan": 100, "mac": "06:00:00:00:00:01"}, "refuses mac"),
        ({"vlan": 100, "mac": "02:00:00:00:00:01"}, ""),
    ],
)
def test_a_claim_stays_within_the_rules_that_the_page_has(tmp_path: pathlib.Path, wanted: Any, told: str) -> None:
    [rules] = [each for each in re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL) if '"rules"' in each]
    (tmp_path / "policy.json").write_text(rules.replace("ens1f0", "0000:01:00.0"))
    with serving(tmp_path, guard=policy.Guard(tmp_path / "policy.json")) as (cni, book):
        book.create()
        book.write(grant(cni.vf, network=wanted))
        answer = cni.client.call("ADD", cni.conf(), ARGS=f"{POD};K8S_POD_UID=pod-uid")
        said = answer.message if answer.code else ""
        assert (answer.code, told in said) == (7 if told else 0, True), answer


def test_defaults_of_the_node_hold_no_claim(tmp_path: pathlib.Path) -> None:
    """They are for keys that nobody names."""
    (tmp_path / "policy.json").write_text('{"defaults": {"hostLink": true}, "rules": [{"hostLink": [true]}]}')
    with serving(tmp_path, guard=policy.Guard(tmp_path / "policy.json")) as (cni, book):
        book.create()
        book.write(grant(cni.vf, network={"hostLink": False}))
        answer = cni.client.call("ADD", cni.conf(), ARGS=f"{POD};K8S_POD_UID=pod-uid")
        assert (answer.code, "refuses a network without hostLink" in answer.message) == (7, True), answer


def test_an_interface_that_the_claim_names_otherwise_is_refused(claimed: tuple[CniNode, grants.Grants]) -> None:
    cni, book = claimed
    book.create()
    book.write(grant(cni.vf, interface="rail0"))
    answer = cni.client.call("ADD", cni.conf(), ARGS=f"{POD};K8S_POD_UID=pod-uid")
    assert (answer.code, "claim ml/rails names the interface 'rail0', and the call 'net1'" in answer.message) == (
        7,
        True,
    )
    assert cni.client.call("ADD", cni.conf(), ARGS=f"{POD};K8S_POD_UID=pod-uid", IFNAME="rail0").code == 0


def test_a_grant_that_cannot_be_read_is_nobodys_free_vf(
    claimed: tuple[CniNode, grants.Grants], tmp_path: pathlib.Path
) -> None:
    cni, book = claimed
    book.create()
    (tmp_path / "grants/claims/u1.json").write_text("{")
    answer = cni.client.call("ADD", cni.conf(), ARGS=POD)
    assert (answer.code != 0, "the grant" in answer.message, "remove that file" in answer.message) == (True, True, True)


def test_a_node_without_claims_asks_for_none(claimed: tuple[CniNode, grants.Grants]) -> None:
    cni, _ = claimed
    assert cni.client.call("ADD", cni.conf()).code == 0


VF = devices.pci_address("0000:01:10.0")
CALL = environment.Invocation(
    environment.Command.ADD, ifname="net1", args=environment.Arguments(namespace="ml", pod="train-0", uid="pod-uid")
)


def test_a_grant_that_comes_in_the_same_tick_of_the_clock_is_seen(tmp_path: pathlib.Path) -> None:
    """A folder's time has ticks: what is read just after a change may not be remembered."""
    book = grants.Grants(tmp_path)
    book.create()
    asked = claims.PodClaims(tmp_path)
    assert asked.of(VF, CALL) is None
    before = (tmp_path / "claims").stat()
    book.write(grant(VF))
    os.utime(tmp_path / "claims", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert asked.of(VF, CALL) is not None


def test_grants_are_read_once_and_again_when_the_folder_has_changed(tmp_path: pathlib.Path) -> None:
    book = grants.Grants(tmp_path)
    book.create()
    book.write(grant(VF))
    asked, hour_ago = claims.PodClaims(tmp_path), time.time_ns() - 3600 * 10**9
    os.utime(tmp_path / "claims", ns=(hour_ago, hour_ago))
    first = asked.of(VF, CALL)
    assert first is not None
    assert asked.of(VF, CALL) is first
    book.remove("u1")
    assert asked.of(VF, CALL) is None
