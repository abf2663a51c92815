"""The pages name tests, keys and flags that exist."""

import pathlib
import re

from deviceplugin import flags
from sriov.pools import config, selector_config
from tests.deviceplugin import test_golden

ROOT = pathlib.Path(__file__).parents[2]
TESTS = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def test_each_demand_of_the_kubelet_has_a_test_or_a_reason() -> None:
    rows = re.findall(r"^\| D(\d+) \| [^|]+ \| (.+) \|$", page("conformance.md"), re.M)
    assert [int(number) for number, _ in rows] == list(range(1, 56))
    for number, shown in rows:
        named = re.fullmatch(r"`(test_\w+)`", shown)
        if named is None:
            assert re.fullmatch(r"no test( here)?: .{20,}", shown), number
        else:
            assert f"def {named[1]}(" in TESTS, shown


def test_each_section_of_the_compatibility_page_has_golden_answers() -> None:
    text = pathlib.Path(test_golden.__file__).read_text()
    tested = set(re.findall(r"test_(1_\d+)_|f?\"1\.(\d+) ", text))
    numbers = {first.replace("_", ".") or f"1.{second}" for first, second in tested}
    sections = set(re.findall(r"^## (1\.\d+)", page("compatibility.md"), re.M))
    # 1.1, 1.5 and 1.12 are of the process: test_process, test_conf, test_kubelet and test_doors have them.
    assert sections - numbers == {"1.1", "1.5", "1.12", "1.13"}
    assert numbers <= sections


def test_every_key_and_flag_is_on_the_page() -> None:
    text = page("deviceplugin.md")
    keys = {*config.RESOURCE_KEYS, *set().union(*selector_config.KEYS.values())}
    assert [key for key in sorted(keys) if f"`{key}`" not in text] == []
    options = {
        word for action in flags.parser()._actions if action.help != "==SUPPRESS==" for word in action.option_strings
    }
    shown = {option for option in options if option.startswith("--") and option != "--help"}
    assert [option for option in sorted(shown) if option not in text] == []
