"""Selectors against VFs, and the range syntax."""

import hypothesis
import msgspec
import pytest
from hypothesis import strategies

from sriov import devices
from sriov.hardware import node_devices
from sriov.hardware.drivers import infiniband, vdpa_devices
from sriov.pools import selectors
from tests.sriov.pools import facts

VF = facts.vf(
    2,
    vendor="15b3",
    device="1018",
    driver="mlx5_core",
    acpi_index="101",
    rdma=infiniband.Rdma(("mlx5_3",), ("uverbs3",), 0x8001),
    vdpa=vdpa_devices.Vdpa("vdpa0", "vhost", "/dev/vhost-vdpa-0"),
)


def matches(selector: selectors.Selector, device: node_devices.Candidate) -> bool:
    """The answer, which has to be the same as whether there is a reason against it."""
    answer = selectors.matches(selector, device)
    assert answer == (selectors.refusal(selector, device) is None)
    return answer


def one(key: str, *values: object) -> selectors.Selector:
    container = tuple if key in ("pf_names", "root_devices") else frozenset
    return selectors.Selector(**{key: container(values)})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "right", "wrong"),
    [
        ("vendors", "15b3", "8086"),
        ("devices", "1018", "10ca"),
        ("drivers", "mlx5_core", "mlx5"),
        ("pci_addresses", "0000:01:10.2", "0000:01:10.3"),
        ("acpi_indexes", "101", "102"),
        ("link_types", "ether", "infiniband"),
        ("pkeys", 0x8001, 0x1),
        ("pf_names", selectors.Functions("enp1s0"), selectors.Functions("enp1")),
        ("root_devices", selectors.Functions("0000:01:00.0"), selectors.Functions("0000:01:00.1")),
    ],
)
def test_values_of_a_key_are_alternatives(key: str, right: object, wrong: object) -> None:
    assert matches(one(key, right), VF)
    assert matches(one(key, wrong, right), VF)
    assert not matches(one(key, wrong), VF)


def test_keys_must_all_hold() -> None:
    both = selectors.Selector(vendors=frozenset({"15b3"}), drivers=frozenset({"mlx5_core"}))
    assert matches(both, VF)
    assert not matches(msgspec.structs.replace(both, drivers=frozenset({"vfio-pci"})), VF)
    assert not matches(msgspec.structs.replace(both, vendors=frozenset({"8086"})), VF)


def test_no_key_takes_every_vf() -> None:
    assert matches(selectors.Selector(), VF)


def test_pf_names_match_in_any_case() -> None:
    assert matches(one("pf_names", selectors.functions("ENP1s0#2")), VF)


def test_every_item_of_a_pf_counts() -> None:
    """The incumbent looks at the first only."""
    items = one("pf_names", selectors.functions("enp1s0#0-1"), selectors.functions("enp1s0#2"))
    assert [matches(items, facts.vf(index)) for index in range(4)] == [True, True, True, False]


def test_a_range_is_of_its_own_pf() -> None:
    items = one("pf_names", selectors.functions("enp1s0#0"), selectors.functions("enp2s0#1"))
    assert not matches(items, facts.vf(1))
    assert matches(items, facts.vf(1, pf="0000:02:00.0", pf_netdev="enp2s0"))


def test_a_vf_whose_pf_has_no_netdev_has_no_pf_name() -> None:
    nameless = msgspec.structs.replace(VF, pf_netdev=None)
    assert not matches(one("pf_names", selectors.functions("enp1s0")), nameless)
    assert matches(one("root_devices", selectors.functions("0000:01:00.0#2")), nameless)


def test_a_vf_without_a_driver_matches_no_driver() -> None:
    assert not matches(one("drivers", ""), msgspec.structs.replace(VF, driver=None))


def test_is_rdma_and_vdpa_type_constrain_and_need_vhost_net_does_not() -> None:
    plain = facts.vf()
    assert matches(selectors.Selector(is_rdma=True), VF)
    assert not matches(selectors.Selector(is_rdma=True), plain)
    assert matches(selectors.Selector(vdpa_type="vhost"), VF)
    assert not matches(selectors.Selector(vdpa_type="virtio"), VF)
    assert not matches(selectors.Selector(vdpa_type="vhost"), plain)
    assert matches(selectors.Selector(need_vhost_net=True), plain)


def test_a_ddp_profile_is_its_name_to_the_letter() -> None:
    comms = msgspec.structs.replace(VF, ddp_profile="ICE COMMS Package")
    assert matches(one("ddp_profiles", "ICE COMMS Package"), comms)
    assert selectors.refusal(one("ddp_profiles", "ice comms package"), comms) == "ddpProfiles: it has ICE COMMS Package"
    assert selectors.refusal(one("ddp_profiles", "ICE COMMS Package"), VF) == "ddpProfiles: it has none"


def test_a_vf_in_a_pod_that_took_its_rdma_device_along_has_rdma_still() -> None:
    away = msgspec.structs.replace(VF, rdma=infiniband.Rdma((), ("uverbs3",)))
    assert matches(selectors.Selector(is_rdma=True), away)


def test_a_pf_and_a_nic_have_no_pf() -> None:
    pf = msgspec.structs.replace(VF, role=node_devices.Role.PF, pf=None, pf_netdev=None, index=None)
    assert not matches(one("pf_names", selectors.functions("enp1s0")), pf)
    assert not matches(one("root_devices", selectors.functions("0000:01:00.0")), pf)


def test_a_refusal_names_the_first_key_and_the_devices_value() -> None:
    wrong = selectors.Selector(drivers=frozenset({"vfio-pci"}), link_types=frozenset({"infiniband"}))
    assert selectors.refusal(wrong, VF) == "drivers: it has mlx5_core"
    assert selectors.refusal(one("pf_names", selectors.functions("enp1s0#0-1")), VF) == "pfNames: it is enp1s0#2"
    unknown = msgspec.structs.replace(VF, link_type=devices.LinkType.UNKNOWN)
    assert selectors.refusal(one("link_types", "ether"), unknown) == "linkTypes: it has none"


def test_a_range_alone_is_of_any_pf() -> None:
    items = one("pf_names", selectors.functions("#0-1"))
    assert [matches(items, facts.vf(index)) for index in range(3)] == [True, True, False]
    assert matches(items, facts.vf(1, pf="0000:02:00.0", pf_netdev="enp2s0"))
    assert not matches(items, msgspec.structs.replace(VF, index=0, pf_netdev=None))


@pytest.mark.parametrize(
    ("text", "pfs"),
    [
        ("enp1s0", {"enp1s0", "ENP1S0"}),
        ("enp[12]s0", {"enp1s0", "enp10enp2s0"}),
        ("^enp[12]s0$", {"enp1s0"}),
        ("s0$", {"enp1s0", "enp10enp2s0"}),
        ("ENP.*", {"ENP1S0"}),
        ("enp[1", {"enp[1"}),
    ],
)
def test_an_expression_names_pfs_by_any_part_of_the_name(text: str, pfs: set[str]) -> None:
    every = ("enp1s0", "ENP1S0", "enp10enp2s0", "enp1", "enp[1", "p")
    taken = {pf for pf in every if matches(one("pf_names", selectors.functions(text)), facts.vf(0, pf_netdev=pf))}
    assert taken == pfs


@pytest.mark.parametrize(
    ("text", "ranges"),
    [("p", None), ("p#0", ((0, 0),)), ("p#1-3,5", ((1, 3), (5, 5))), ("p#7-7,0-1", ((7, 7), (0, 1)))],
)
def test_ranges(text: str, ranges: object) -> None:
    assert selectors.functions(text) == selectors.Functions("p", ranges)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ["p#", "p#a", "p#1-", "p#-1", "p#1,,2", "p#1, 2", "p#1#2", "p#3-1", "p#\u0661", "#", "", "p#1\n"]
)
def test_ranges_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"no PF is named|is not a list of VF indices|runs backwards"):
        selectors.functions(text)


@hypothesis.given(strategies.sets(strategies.integers(0, 300), min_size=1), strategies.integers(0, 300))
def test_a_range_holds_what_it_lists(indices: set[int], other: int) -> None:
    text = "p#" + ",".join(str(index) for index in indices)
    assert (other in selectors.functions(text)) == (other in indices)


@hypothesis.given(strategies.integers(0, 300), strategies.integers(0, 300), strategies.integers(0, 300))
def test_a_span_holds_both_ends(first: int, length: int, index: int) -> None:
    span = selectors.functions(f"p#{first}-{first + length}")
    assert (index in span) == (first <= index <= first + length)
