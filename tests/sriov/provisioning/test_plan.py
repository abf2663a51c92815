"""Plans: in the kernel's order, empty if nothing is to do, without an effect on any pod."""

import pathlib

import msgspec
import pytest

from sriov import devices, settings
from sriov.linux import kernel
from sriov.provisioning import model, policies, steps
from sriov.provisioning.steps import Act
from sriov.state import ledger
from tests.sriov.provisioning import nodes

SELECTED = "policies:\n- selector: {pfNames: [eth1]}\n"
MACS = "  macRange: {first: 02:00:00:00:01:00, last: 02:00:00:00:01:0f}\n"


def acts(planned: tuple[steps.ProvisioningStep, ...]) -> list[tuple[Act, int | None, object]]:
    return [(step.act, step.vf, step.after) for step in planned]


def held(node: nodes.Node, index: int) -> devices.PciAddress:
    """A VF with a record in the ledger."""
    pci = node.pf().vfs[index].pci
    owner = ledger.Owner(container_id="c1", ifname="net1", network="n1", netns="/run/netns/x")
    record = ledger.Record(
        pci=pci, owner=owner, netns=(0, 0), home=None, wanted=settings.BASELINE, mtu=1500,
        device=node.world.node.tree.birth(pci),
    )  # fmt: skip
    node.book.write(record)
    return pci


def test_vfs_of_the_kernels_own_driver_are_one_step(empty: nodes.Node) -> None:
    planned = empty.apply(SELECTED + "  numVfs: 2\n")
    assert acts(planned) == [(Act.NUMVFS, None, 2)]
    assert [vf.binding.driver for vf in empty.pf().vfs] == ["igbvf"] * 2
    assert empty.pf(1).vfs == ()


def test_macs_are_administered_before_a_driver_is_bound(empty: nodes.Node) -> None:
    planned = empty.apply(SELECTED + "  numVfs: 2\n" + MACS)
    default = model.Binding(policies.DEFAULT_DRIVER, None)
    assert acts(planned) == [
        (Act.AUTOPROBE, None, False),
        (Act.NUMVFS, None, 2),
        (Act.MAC, 0, "02:00:00:00:01:00"),
        (Act.MAC, 1, "02:00:00:00:01:01"),
        (Act.AUTOPROBE, None, True),
        (Act.DRIVER, 0, default),
        (Act.DRIVER, 1, default),
    ]
    assert [vf.address for vf in empty.pf().vfs] == ["02:00:00:00:01:00", "02:00:00:00:01:01"]


def test_the_mtu_of_the_pf_comes_before_its_vfs_and_the_link_before_both(empty: nodes.Node) -> None:
    with empty.machine.node.kernel() as net:
        net.set_link("eth1", kernel.Change(up=False))
    planned = empty.apply(SELECTED + "  numVfs: 1\n  mtu: 9000\n")
    assert acts(planned) == [(Act.UP, None, True), (Act.MTU, None, 9000), (Act.NUMVFS, None, 1), (Act.MTU, 0, 9000)]


def test_vfio_pci_gets_vfs_that_no_other_driver_has_seen(empty: nodes.Node) -> None:
    empty.apply(SELECTED + "  numVfs: 2\n  driver: vfio-pci\n" + MACS)
    assert [(vf.binding.driver, vf.binding.override, vf.netdev) for vf in empty.pf().vfs] == [
        ("vfio-pci", "vfio-pci", None)
    ] * 2
    assert empty.pf().autoprobe
    assert [vf.shown and vf.shown.mac for vf in empty.pf().vfs] == ["02:00:00:00:01:00", "02:00:00:00:01:01"]


def test_an_eswitch_changes_its_mode_without_vfs(filled: nodes.Node) -> None:
    filled.switches.modes[nodes.PF0] = devices.EswitchMode.LEGACY
    planned = filled.apply(SELECTED + "  numVfs: 4\n  mtu: 1500\n  eswitchMode: switchdev\n")
    assert acts(planned)[:4] == [
        (Act.NUMVFS, None, 0),
        (Act.ESWITCH, None, devices.EswitchMode.SWITCHDEV),
        (Act.MTU, None, 1500),
        (Act.NUMVFS, None, 4),
    ]
    assert filled.switches.modes[nodes.PF0] is devices.EswitchMode.SWITCHDEV


@pytest.mark.parametrize(
    "more",
    [
        "",
        MACS,
        "  driver: vfio-pci\n" + MACS,
        "  driver: default\n  mtu: 9000\n",
        "  trust: true\n  spoofchk: false\n",
        "  driver: igbvf\n  trust: true\n  mtu: 4000\n",
    ],
)
@pytest.mark.parametrize("count", [0, 4, 7])
def test_what_was_applied_is_not_applied_again(filled: nodes.Node, more: str, count: int) -> None:
    text = f"{SELECTED}  numVfs: {count}\n{more}"
    filled.apply(text)
    assert len(filled.pf().vfs) == count
    assert filled.plan(text).steps == ()
    assert len(filled.pf(1).vfs) == 4


def test_free_vfs_are_changed_where_they_are(filled: nodes.Node) -> None:
    """Another address becomes the VF's own: what the CNI remembered of it is forgotten."""
    first = filled.pf().vfs[0]
    netdev = filled.world.node.tree.netdev(first.pci)
    assert netdev is not None
    filled.book.identities.settle(filled.world.node.tree, first.pci, netdev, dict)
    planned = filled.apply(SELECTED + "  numVfs: 4\n  spoofchk: false\n" + MACS)
    assert Act.NUMVFS not in {step.act for step in planned}
    assert [vf.address for vf in filled.pf().vfs] == [f"02:00:00:00:01:0{index}" for index in range(4)]
    assert [vf.shown and vf.shown.spoofchk for vf in filled.pf().vfs] == [False] * 4
    after = filled.world.node.tree.netdev(first.pci)
    assert after is not None
    assert filled.book.identities.settle(filled.world.node.tree, first.pci, after, dict).address == "02:00:00:00:01:00"


def test_from_vfio_pci_and_back(filled: nodes.Node) -> None:
    filled.apply(SELECTED + "  numVfs: 4\n  driver: vfio-pci\n")
    assert {vf.binding.driver for vf in filled.pf().vfs} == {"vfio-pci"}
    filled.apply(SELECTED + "  numVfs: 4\n  driver: default\n  mtu: 2000\n")
    assert {(vf.binding.driver, vf.binding.override, vf.mtu) for vf in filled.pf().vfs} == {("igbvf", None, 2000)}


def test_a_vf_that_a_pod_gave_back_is_still_as_provisioned(filled: nodes.Node) -> None:
    """The CNI's baseline has no administered MAC; the VF's own is the one that it was given here."""
    text = SELECTED + "  numVfs: 4\n" + MACS
    filled.apply(text)
    with filled.machine.node.kernel() as net:
        net.set_vf(net.link("eth1").index, 2, settings.BASELINE, {settings.Setting.MAC})
    assert filled.plan(text).steps == ()


@pytest.mark.parametrize(
    ("numvfs", "what"), [(2, "4 VFs cannot become 2"), (7, "4 VFs cannot become 7"), (0, "become 0")]
)
def test_another_number_under_pods_is_refused_with_their_names(filled: nodes.Node, numvfs: int, what: str) -> None:
    filled.pods[filled.pf().vfs[1].pci] = "default/web-0"
    held(filled, 3)
    planned = filled.plan(f"{SELECTED}  numVfs: {numvfs}\n")
    assert planned.steps == ()
    [refusal] = planned.refusals
    assert refusal.startswith("eth1 (policy policies[0]): ")
    for part in (what, "eth1#1 by pod default/web-0", "eth1#3 by container c1 as net1 in /run/netns/x", "drain"):
        assert part in refusal


def test_another_mtu_of_the_pf_under_pods_is_refused(filled: nodes.Node) -> None:
    held(filled, 3)
    [refusal] = filled.plan(SELECTED + "  numVfs: 4\n  mtu: 9000\n").refusals
    assert "mtu cannot become 9000" in refusal


def test_a_vf_in_use_stays_as_it_is_and_its_neighbours_do_not(filled: nodes.Node) -> None:
    held(filled, 3)
    before = filled.pf().vfs[3]
    text = SELECTED + "  numVfs: 4\n  trust: true\n  driver: vfio-pci\n" + MACS
    planned = filled.plan(text)
    assert {step.vf for step in planned.steps if step.act is not Act.DEFAULTS} == {0, 1, 2}
    assert planned.notes == ("eth1#3 is in use by container c1 as net1 in /run/netns/x and stays as it is",)
    filled.apply(text)
    assert filled.pf().vfs[3] == msgspec.structs.replace(before, declared=settings.Switches(trust=True))
    assert filled.plan(text).steps == ()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("  numVfs: 8\n", "numVfs 8 is more than the card has; it has 7"),
        ("  numVfs: 4\n  eswitchMode: switchdev\n", "it has no eswitch for eswitchMode switchdev; leave the key out"),
        ("  numVfs: 4\n  driver: igb_uio\n", "the kernel has no driver igb_uio; load it, as in `modprobe igb_uio`"),
        (
            "  numVfs: 4\n  macRange: {first: 02:00:00:00:01:00, last: 02:00:00:00:01:02}\n",
            "policy policies[0]: macRange has 3 addresses for 4 VFs of 1 PFs; make it longer",
        ),
    ],
)
def test_what_the_node_cannot_do_is_refused(filled: nodes.Node, more: str, message: str) -> None:
    planned = filled.plan(SELECTED + more)
    assert [message in refusal for refusal in planned.refusals] == [True]


def test_the_first_policy_that_takes_a_pf_counts(empty: nodes.Node) -> None:
    text = (
        "policies:\n"
        "- {name: one, selector: {pciAddresses: [0000:01:00.0]}, numVfs: 1}\n"
        "- {name: rest, selector: {drivers: [igb]}, numVfs: 2}\n"
        "- {name: none, selector: {vendors: [15b3]}, numVfs: 3}\n"
    )
    planned = empty.plan(text)
    assert [(step.pf, step.after) for step in planned.steps] == [(nodes.PF0, 1), (nodes.PF1, 2)]
    assert planned.notes == ("policy none takes no PF of this node",)


def test_each_pf_has_the_next_addresses_of_the_range(empty: nodes.Node) -> None:
    empty.apply("policies:\n- selector: {drivers: [igb]}\n  numVfs: 7\n" + MACS)
    assert [vf.address for vf in empty.pf(1).vfs] == [f"02:00:00:00:01:{index:02x}" for index in range(7, 14)]


def test_vfs_of_a_host_that_probes_none(empty: nodes.Node) -> None:
    """An administrator's sriov_drivers_autoprobe stays, unless a driver is asked for that could not be bound."""
    empty.world.node.set_attribute(nodes.PF0, "sriov_drivers_autoprobe", 0)
    empty.apply(SELECTED + "  numVfs: 2\n" + MACS)
    assert ([vf.binding.driver for vf in empty.pf().vfs], empty.pf().autoprobe) == ([None] * 2, False)
    empty.apply(SELECTED + "  numVfs: 2\n  driver: default\n" + MACS)
    assert [vf.address for vf in empty.pf().vfs] == ["02:00:00:00:01:00", "02:00:00:00:01:01"]


@pytest.mark.parametrize("how", ["", "  driver: vfio-pci\n", MACS])
def test_what_the_file_says_of_trust_and_spoof_checking_is_declared(empty: nodes.Node, how: str) -> None:
    planned = empty.apply(SELECTED + "  numVfs: 2\n  trust: true\n  spoofchk: false\n" + how)
    declared = settings.Switches(trust=True, spoofchk=False)
    assert [(step.vf, step.after) for step in planned if step.act is Act.DEFAULTS] == [(0, declared), (1, declared)]
    assert [vf.declared for vf in empty.pf().vfs] == [declared] * 2


def test_it_is_what_the_file_says_and_not_what_the_vf_is_at(filled: nodes.Node) -> None:
    """A key that is taken out declares nothing any more, and the VF stays as it is."""
    with filled.machine.node.kernel() as net:
        for index in range(4):
            net.set_vf(net.link("eth1").index, index, settings.VfSettings(trust=True), {settings.Setting.TRUST})
    filled.apply(SELECTED + "  numVfs: 4\n")
    assert [vf.declared for vf in filled.pf().vfs] == [settings.UNNAMED] * 4
    planned = filled.apply(SELECTED + "  numVfs: 4\n  trust: true\n")
    assert {step.act for step in planned} == {Act.DEFAULTS}
    assert [vf.declared for vf in filled.pf().vfs] == [settings.Switches(trust=True)] * 4
    planned = filled.apply(SELECTED + "  numVfs: 4\n")
    assert [steps.said(step.before) for step in planned] == ["trust true"] * 4
    assert [steps.said(step.after) for step in planned] == ["none"] * 4
    assert [(vf.declared, vf.shown and vf.shown.trust) for vf in filled.pf().vfs] == [(settings.UNNAMED, True)] * 4


def test_a_damaged_file_of_defaults_is_written_again(filled: nodes.Node, tmp_path: pathlib.Path) -> None:
    text = SELECTED + "  numVfs: 4\n  trust: true\n"
    filled.apply(text)
    (tmp_path / f"run/defaults/{filled.pf().vfs[1].pci}.json").write_text("{")
    assert [(step.act, step.vf) for step in filled.apply(text)] == [(Act.DEFAULTS, 1)]
    assert filled.plan(text).steps == ()


def test_a_pf_that_no_policy_takes_any_more_keeps_what_was_declared_and_says_so(filled: nodes.Node) -> None:
    filled.apply(SELECTED + "  numVfs: 4\n  trust: true\n")
    planned = filled.plan(SELECTED.replace("eth1", "eth2") + "  numVfs: 4\n")
    assert planned.steps == ()
    [note] = planned.notes
    assert note.startswith("eth1: no policy takes it; what an earlier file declares of its VFs counts")


def test_vfs_that_go_take_what_was_declared_of_them_along(filled: nodes.Node, tmp_path: pathlib.Path) -> None:
    filled.apply(SELECTED + "  numVfs: 4\n  trust: true\n")
    filled.apply(SELECTED + "  numVfs: 0\n  trust: true\n")
    assert list((tmp_path / "run/defaults").iterdir()) == []
