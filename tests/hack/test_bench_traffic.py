"""`hack/bench traffic`: table and plot. A short run is tests/lab/benchmarks/test_traffic.py."""

import pathlib
import re

import pytest
from PIL import Image

from hack.benchmark.stages import stage
from hack.benchmark.traffic import plot, report, ways
from hack.guest import errors
from sriov.linux import netns
from sriovctl.traffic import comparing, tools
from tests.examples import table
from tests.fakes import sysfs_tree

ROOT = pathlib.Path(__file__).parents[2]
FACTORS = {"vf": 1, "routed": 2, "vxlan": 4}


def made_up(rounds: int = 3) -> comparing.Taken:
    """The routed veth has twice of everything, VXLAN four times as much."""
    return {
        way: {key: [(10.0 + turn) * factor for turn in range(rounds)] for key in comparing.NAMES}
        for way, factor in FACTORS.items()
    }


def test_the_table_has_the_ways_side_by_side() -> None:
    head, *lines = report.table(made_up())
    assert head.split("  ")[-1].strip() == "veth, bridge, VXLAN"
    assert len(lines) == len(comparing.NAMES)
    assert lines[0].split() == ["TCP,", "Mbit/s", "11.0", "22.0", "(2.00)", "44.0", "(4.00)"]


def test_the_target_is_that_a_vf_costs_less_work_than_vxlan() -> None:
    found = {each.key: each for each in report.medians(made_up())}
    assert found["sender_us_packet_vf_over_routed"].value == pytest.approx(1 / 2)
    one = found["sender_us_packet_vf_over_vxlan"]
    assert one.value == pytest.approx(1 / 4)
    assert (one.target, one.missed) == (1.0, False)
    assert found["vxlan_tcp_mbit"].value == 44
    assert len([each for each in found.values() if each.target]) == 4


def test_the_picture_of_the_page_is_drawn_so(tmp_path: pathlib.Path) -> None:
    """Its figures are of another run: size and colours are the script's."""
    plot.draw(made_up(), tmp_path / "plot.png")
    looks = []
    for path in (tmp_path / "plot.png", ROOT / "docs/images/traffic.png"):
        with Image.open(path) as picture:
            found = picture.convert("RGB").getcolors(1 << 20)
            assert found is not None
            looks.append((picture.size, {colour for count, colour in found if count > 1000}))
    assert looks[0] == looks[1]


def test_without_real_vfs_it_says_where_there_are_some(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.LabError, match="hack/lab run -- hack/bench traffic"):
        ways.opened(sysfs_tree.SysfsTree(tmp_path).tree).__enter__()


def test_its_tools_are_installed_as_the_page_says() -> None:
    """All at once, with what other tests need (tests/hack/test_packages.py): these are among them."""
    [example] = table.run_by(__file__, "test_its_tools_are_installed_as_the_page_says")
    _, *names = example.command.split()
    assert names == list(tools.SERVERS)
    assert set(names) <= set(re.findall(r"[\w-]+", (ROOT / "hack/packages").read_text()))


def test_two_vfs_of_each_of_two_cards_are_needed() -> None:
    with netns.own() as here:
        links = [stage.Link(f"v{number}", number, "", here, "", pf=number // 2) for number in range(2, 7)]
        assert [[each.index for each in card] for card in ways.cards(links)] == [[2, 3], [4, 5]]
        with pytest.raises(errors.LabError, match="two cards with two VFs each are needed"):
            ways.cards(links[:3])
