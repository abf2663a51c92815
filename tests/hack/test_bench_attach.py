"""`hack/bench attach`: a short run is whole, and says what it promises. What it measures is nobody's failure here."""

import dataclasses
import json
import pathlib
import shlex
import shutil
import subprocess

import pytest
from PIL import Image

from hack.benchmark import figures
from hack.benchmark.attach import contest, plot, report
from hack.benchmark.stages import igbs
from hack.guest import errors
from tests import conftest
from tests.examples import table
from tests.fakes import sysfs_tree

ROOT = pathlib.Path(__file__).parents[2]
RATIOS = {
    *("add_p50_ratio_native", "add_p50_ratio_python", "del_p50_ratio_native", "del_p50_ratio_python"),
    *("add_p50_ratio_native_v111", "add_no_ipam_over_floor", "burst64_ratio", "burst64_over_floor"),
    *("cpu_pair_ratio", "python_shim_over_bare", "compare_over_del_p50"),
}
BESIDE = {f"{verb}_p50_ratio_{shim}_beside" for verb in ("add", "del") for shim in ("native", "python")}


def made_up(rounds: int = 100) -> contest.Taken:
    """Everybody's milliseconds grow from 10 to 20, theirs from 20 to 40."""
    costs = {
        f"{key}_{kind}": [(2 if key == "v19" else 1) * (10 + 10 * turn / rounds) for turn in range(rounds)]
        for key in report.NAMES
        for kind in ("add", "del", "cpu")
    }
    starts = {"python_version": [12.0] * rounds, "native_version": [2.0] * rounds, "bare_python": [10.0] * rounds}
    costs["compare"] = [0.3] * rounds
    bursts = {"native": [900.0, 1000.0, 1100.0], "v19": [2500.0], "v111": [1000.0], "floor": [800.0]}
    return contest.Taken(costs | starts, bursts, contest.BURST)


def test_ratios_are_of_what_they_say() -> None:
    found = {each.key: each.value for each in report.ratios(made_up())}
    assert set(found) == RATIOS
    assert found["add_p50_ratio_native"] == found["del_p50_ratio_python"] == found["cpu_pair_ratio"] == 0.5
    assert found["add_p50_ratio_native_v111"] == found["add_no_ipam_over_floor"] == 1
    assert found["python_shim_over_bare"] == 1.2
    assert (found["burst64_ratio"], found["burst64_over_floor"]) == (0.4, 1.25)


def test_another_checkout_has_lines_of_its_own_where_it_took_part() -> None:
    alone = made_up()
    theirs = {f"{shim}_beside_{kind}": [20.0] * 100 for shim in ("native", "python") for kind in ("add", "del", "cpu")}
    taken = dataclasses.replace(alone, costs={**alone.costs, **theirs}, beside="before")
    found = {each.key: each for each in report.ratios(taken)}
    assert found.keys() == RATIOS | BESIDE
    one = found["add_p50_ratio_native_beside"]
    assert (one.value, one.target, one.note) == (
        0.75,
        1.03,
        "ADD p50, native shim, over before's, 95 % of runs 0.705 to 0.800",
    )
    assert found["compare_over_del_p50"].value == 0.02
    assert [line.startswith("before, ") for line in report.table(taken)].count(True) == 2
    assert not any(line.startswith("before, ") for line in report.table(alone))


def test_with_a_pf_a_del_is_set_beside_what_it_cannot_do_without() -> None:
    bare = made_up()
    more = {
        f"{name}_{kind}": [value] * 100
        for name, value in (("native_vlan", 30.0), ("floor_vlan", 20.0))
        for kind in ("add", "del")
    }
    found = {each.key: each for each in report.ratios(dataclasses.replace(bare, costs={**bare.costs, **more}))}
    assert found.keys() == RATIOS | {"add_vlan_over_floor", "del_vlan_over_floor"}
    assert (found["del_vlan_over_floor"].value, found["del_vlan_over_floor"].target) == (1.5, 1.25)
    assert found["del_vlan_over_floor"].missed


def test_both_checkouts_alone_are_compared_with_each_other_only() -> None:
    costs = {
        f"{name}_{kind}": [10.0 + number % 7 for number in range(100)]
        for name in ("native", "python", "native_beside", "python_beside", "floor")
        for kind in ("add", "del", "cpu")
    }
    taken = contest.Taken({**costs, "compare": [0.3] * 100}, {}, contest.BURST, "before")
    assert {each.key for each in report.ratios(taken)} == BESIDE | {"compare_over_del_p50"}
    assert len(list(report.table(taken))) == 7
    assert report.raw(taken)


def test_the_interval_of_a_ratio_is_smaller_with_more_rounds() -> None:
    def width(rounds: int) -> float:
        values = [20.0 + number * 7 % 11 for number in range(rounds)]
        low, high = report.interval(values, values)
        assert low <= 1 <= high
        return high - low

    assert width(2000) < width(100)
    assert report.interval([20.0] * 9, [10.0] * 9) == (2, 2)


def test_nothing_is_compared_alone_without_another_checkout(tmp_path: pathlib.Path) -> None:
    process, _, said = bench("hack/bench attach --alone", tmp_path)
    assert (process.returncode, "--alone compares with --beside CHECKOUT" in said) == (2, True)


def test_raw_values_are_for_programs_and_the_table_for_people() -> None:
    taken = made_up()
    raw = {each.key: each.value for each in report.raw(taken)}
    assert (raw["v19_add_ms_p50"], raw["v19_add_ms_p90"], raw["v19_add_ms_p99"]) == pytest.approx((30, 38, 39.8))
    assert (raw["native_burst64_ms_min"], raw["native_burst64_ms_max"], raw["rounds"]) == (900, 1100, 100)
    assert [line.split()[0] for line in figures.table(report.raw(taken))] == ["load_1m"]
    table = list(report.table(taken))
    assert "host-device 1.9" in table[1]
    assert table[1].split()[2:5] == ["30.0", "38.0", "39.8"]


def test_the_plot_is_a_picture_with_the_floor_in_it(tmp_path: pathlib.Path) -> None:
    plot.draw(made_up(), tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as picture:
        assert picture.format == "PNG"
        red = picture.convert("RGB").getcolors(1 << 20)
        assert red is not None
        assert (0xC0, 0x20, 0x20) in {colour for _, colour in red}


def test_the_picture_of_the_page_is_drawn_so(tmp_path: pathlib.Path) -> None:
    """Its figures are of another run: size and colours are the script's."""
    plot.draw(made_up(), tmp_path / "plot.png")
    looks = []
    for path in (tmp_path / "plot.png", ROOT / "docs/images/attach.png"):
        with Image.open(path) as picture:
            counted = picture.convert("RGB").getcolors(1 << 20)
            assert counted is not None
            looks.append((picture.width, {colour for count, colour in counted if count > 1000}))
    assert looks[0] == looks[1]


def bench(line: str, folder: pathlib.Path) -> tuple[subprocess.Popen[str], str, str]:
    """The process, started in that folder, which has ended, and what it said."""
    command = [str(ROOT / each) if each.startswith("hack/") else each for each in shlex.split(line)]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        return process, *process.communicate(timeout=600)


def test_a_number_of_rounds_that_is_none_is_named(tmp_path: pathlib.Path) -> None:
    process, _, said = bench("hack/bench attach --rounds 0", tmp_path)
    assert (process.returncode, "'0' is not a number of rounds" in said) == (2, True)


def test_what_is_no_checkout_of_this_project_is_named(tmp_path: pathlib.Path) -> None:
    process, _, said = bench("hack/bench attach --beside .", tmp_path)
    assert (process.returncode, "'.' is no checkout of this project: it has no sriov_cni/shim.c" in said) == (2, True)


def test_without_real_vfs_it_says_where_there_are_some(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.LabError, match="hack/lab run -- hack/bench attach --igb"):
        igbs.opened(sysfs_tree.SysfsTree(tmp_path).tree).__enter__()


@pytest.mark.root
@pytest.mark.bench
def test_a_short_run(tmp_path: pathlib.Path) -> None:
    """As docs/performance.md has it, but for the rounds."""
    [example] = table.run_by(__file__, "test_a_short_run")
    process, told, said = bench(f"{example.command} --rounds 2", tmp_path)
    _succeeded(process, said)
    found = json.loads((tmp_path / "attach.json").read_text())
    assert set(found) >= RATIOS
    assert found["rounds"] == 2
    assert all(value > 0 for value in found.values())
    assert (tmp_path / "attach.png").read_bytes().startswith(b"\x89PNG")
    assert "the kernel alone" in told
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert f"sriov-bench-{process.pid}-" not in left


def _succeeded(process: subprocess.Popen[str], said: str) -> None:
    if process.returncode and "bench: containernetworking-plugins" in said and not conftest.MUST_RUN:
        pytest.skip(said.strip().splitlines()[-1])
    assert process.returncode == 0, said


@pytest.mark.root
@pytest.mark.bench
def test_a_short_run_beside_another_checkout(tmp_path: pathlib.Path) -> None:
    """As docs/performance.md has it. The other one is a copy of this, whose daemon leaves a trace that it ran."""
    [example] = table.run_by(__file__, "test_a_short_run_beside_another_checkout")
    other = tmp_path / "before"
    shutil.copytree(ROOT, other, ignore=shutil.ignore_patterns(".*", "__pycache__", "artefacts"), symlinks=True)
    program = other / "sriov_cni/app.py"
    program.write_text(f"__import__('pathlib').Path(__file__).with_name('ran').touch()\n{program.read_text()}")
    process, told, said = bench(f"{example.command} --rounds 1", tmp_path)
    _succeeded(process, said)
    found = json.loads((tmp_path / "attach.json").read_text())
    assert found.keys() >= RATIOS | BESIDE
    assert all(found[key] > 0 for key in BESIDE)
    assert "before, Python shim" in told
    assert (other / "sriov_cni/ran").exists()
