"""Selectors against VFs, and the range syntax."""

import dataclasses

import hypothesis
import pytest
from hypothesis import strategies

from deviceplugin import selectors
from tests.deviceplugin import facts

VF = facts.vf(2, vendor="15b3", device="1018", driver="mlx5_core")


def one(key: str, *values: object) -> selectors.Selector:
    container = frozenset if key in ("vendors", "devices", "drivers", "pci_addresses") else tuple
    return selectors.Selector(**{key: container(values)})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "right", "wrong"),
    [
        ("vendors", "15b3", "8086"),
        ("devices", "1018", "10ca"),
        ("drivers", "mlx5_core", "mlx5"),
        ("pci_addresses", "0000:01:10.2", "0000:01:10.3"),
        ("pf_names", selectors.Functions("enp1s0"), selectors.Functions("enp1")),
        ("root_devices", selectors.Functions("0000:01:00.0"), selectors.Functions("0000:01:00.1")),
    ],
)
def test_values_of_a_key_are_alternatives(key: str, right: object, wrong: object) -> None:
    assert selectors.matches(one(key, right), VF)
    assert selectors.matches(one(key, wrong, right), VF)
    assert not selectors.matches(one(key, wrong), VF)


def test_keys_must_all_hold() -> None:
    both = selectors.Selector(vendors=frozenset({"15b3"}), drivers=frozenset({"mlx5_core"}))
    assert selectors.matches(both, VF)
    assert not selectors.matches(dataclasses.replace(both, drivers=frozenset({"vfio-pci"})), VF)
    assert not selectors.matches(dataclasses.replace(both, vendors=frozenset({"8086"})), VF)


def test_no_key_takes_every_vf() -> None:
    assert selectors.matches(selectors.Selector(), VF)


def test_selectors_of_a_list_are_alternatives() -> None:
    wrong, right = one("vendors", "8086"), one("vendors", "15b3")
    assert selectors.any_matches([wrong, right], VF)
    assert not selectors.any_matches([wrong, wrong], VF)
    assert not selectors.any_matches([], VF)


def test_pf_names_match_in_any_case() -> None:
    assert selectors.matches(one("pf_names", selectors.functions("ENP1s0#2")), VF)


def test_every_item_of_a_pf_counts() -> None:
    """The incumbent looks at the first only."""
    items = one("pf_names", selectors.functions("enp1s0#0-1"), selectors.functions("enp1s0#2"))
    assert [selectors.matches(items, facts.vf(index)) for index in range(4)] == [True, True, True, False]


def test_a_range_is_of_its_own_pf() -> None:
    items = one("pf_names", selectors.functions("enp1s0#0"), selectors.functions("enp2s0#1"))
    assert not selectors.matches(items, facts.vf(1))
    assert selectors.matches(items, facts.vf(1, pf="0000:02:00.0", pf_netdev="enp2s0"))


def test_a_vf_whose_pf_has_no_netdev_has_no_pf_name() -> None:
    nameless = dataclasses.replace(VF, pf_netdev=None)
    assert not selectors.matches(one("pf_names", selectors.functions("enp1s0")), nameless)
    assert selectors.matches(one("root_devices", selectors.functions("0000:01:00.0#2")), nameless)


def test_a_vf_without_a_driver_matches_no_driver() -> None:
    assert not selectors.matches(one("drivers", ""), dataclasses.replace(VF, driver=None))


@pytest.mark.parametrize(
    ("text", "ranges"),
    [("p", None), ("p#0", ((0, 0),)), ("p#1-3,5", ((1, 3), (5, 5))), ("p#7-7,0-1", ((7, 7), (0, 1)))],
)
def test_ranges(text: str, ranges: object) -> None:
    assert selectors.functions(text) == selectors.Functions("p", ranges)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ["p#", "p#a", "p#1-", "p#-1", "p#1,,2", "p#1, 2", "p#1#2", "p#3-1", "p#\u0661", "#1", "", "p#1\n"]
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
