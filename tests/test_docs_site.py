"""The docs site: it builds without a warning, stands alone, is up to date; what is written on it is taken.

What is typed at a console has a table of its own, in tests/examples.
"""

import contextlib
import functools
import json
import pathlib
import re
import shlex
import socket
import subprocess
import sys
import urllib.request

import pytest
import yaml
from PIL import Image

from hack.pages import __main__ as pages
from sriov.pools import config as plugin_conf
from sriovctl.checks import findings
from tests.deploy import rendering
from tests.examples import table
from tests.kernel import namespaces

ROOT = pathlib.Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in DOCS.glob("*.md"))]

# Which tests run the blocks of a page, by their language.
RUN_BY = {
    ("README.md", "json"): [
        "tests/test_docs.py::test_the_readmes_device_plugin_configuration",
        "tests/test_docs.py::test_network_configurations",
    ],
    ("docs/architecture.md", ""): ["tests/test_docs.py::test_files_and_folders_that_are_named_exist"],
    ("docs/cni.md", "json"): [
        "tests/test_docs.py::test_network_configurations",
        "tests/test_docs.py::test_the_network_list_for_nodes_without_multus",
        "tests/test_docs.py::test_the_policy",
    ],
    ("docs/dra.md", "json"): [
        "tests/sriov_dra/test_docs.py::test_the_configuration",
        "tests/kernel/test_claims.py::test_alone_two_claims_of_one_pod_and_two_devices_of_one_claim",
        "tests/kernel/test_claims.py::test_chained_behind_a_bridge",
        "tests/sriov_dra/test_docs.py::test_the_opt_out_is_one",
    ],
    ("docs/dra.md", "text"): ["tests/sriov_dra/test_docs.py::test_the_hook_says_what_the_page_shows"],
    ("docs/dra.md", "yaml"): [
        "tests/sriov_dra/test_docs.py::test_a_cluster_takes_the_objects",
        "tests/sriov_dra/test_docs.py::test_the_vf_networks_are_ones",
        "tests/sriov_dra/test_docs.py::test_the_status_is_what_the_driver_writes",
        "tests/sriov_dra/test_deployment.py::test_the_page_names_the_folder_and_its_values_are_the_charts",
    ],
    ("docs/host-link.md", "json"): ["tests/test_docs.py::test_the_host_link"],
    ("docs/policy.md", "json"): ["tests/test_docs.py::test_the_network_policy"],
    ("docs/install.md", "yaml"): [
        "tests/deploy/test_typed_at_a_cluster.py::test_what_is_typed_does_what_the_page_says",
        "tests/deploy/test_install_page.py::test_openshift_admits_what_the_pods_ask_for_and_no_more",
    ],
    ("docs/install.md", "json"): ["tests/deploy/test_install_page.py::test_the_network_of_podman"],
    ("docs/metrics.md", "json"): ["tests/sriov_cni/test_log.py::test_each_line_of_an_attachment_says_whose_it_is"],
    ("docs/metrics.md", "promql"): ["tests/deploy/test_alerts.py::test_what_the_page_tells_prometheus_is_taken"],
    ("docs/metrics.md", "yaml"): [
        "tests/deploy/test_alerts.py::test_what_the_page_tells_prometheus_is_taken",
        "tests/deploy/test_metrics_page.py::installed",
    ],
    ("docs/operator.md", "yaml"): [
        "tests/deploy/test_operator.py::test_the_overlay_of_the_page_names_the_image_and_nothing_else",
        "tests/deploy/test_operator.py::test_the_values_of_the_page_are_those_of_the_plain_manifests",
        "tests/deploy/test_operator.py::test_the_images_of_the_page_are_those_that_are_built",
    ],
    ("docs/policy.md", "yaml"): ["tests/deploy/test_rendering.py::test_the_values_of_the_page_switch_policies_on"],
    ("docs/services.md", "json"): ["tests/test_docs.py::test_network_configurations"],
    ("docs/sriovctl.md", "text"): [
        "tests/sriovctl/commands/test_topology.py::test_free_vfs_of_a_gpus_root_and_that_it_is_too_coarse"
    ],
    ("docs/services.md", "text"): [
        "tests/sriov_cni/dataplane/test_proof.py::test_another_program_of_the_cgroup_that_comes_after_ours"
    ],
    ("docs/provisioning.md", "yaml"): ["tests/sriov/provisioning/test_docs.py::test_the_example"],
    ("docs/quickstart.md", "yaml"): ["tests/test_docs_site.py::test_the_values_of_the_quick_start"],
    ("docs/systemd.md", ""): ["tests/test_docs_site.py::test_the_variables_of_the_units"],
}  # fmt: skip
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
DRAWN = {"mermaid"}
FOREIGN = ("failed to find plugin", "Insufficient")  # words of runtimes and of Kubernetes, which no code here has
TYPED = ("sriovctl ", "sriov-", "ip link")
SOURCES = ("sriov", "sriov_cni", "sriov_dra", "deviceplugin", "sriovctl")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The site as it is published: built strictly, so that a warning of mkdocs is a failure here."""
    out = tmp_path_factory.mktemp("docs") / "site"
    [example] = table.run_by(__file__, "site")
    command = [*shlex.split(example.command), "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    return out


def test_every_page_is_built_with_its_pictures(site: pathlib.Path) -> None:
    assert [name for name in PAGES[1:] if not (site / pathlib.Path(name).name).with_suffix(".html").exists()] == []
    shown = {name for page in site.glob("*.html") for name in re.findall(r'src="(images/[^"]+)"', page.read_text())}
    assert shown == {f"images/{path.name}" for path in (DOCS / "images").iterdir()}
    assert [name for name in shown if not (site / name).exists()] == []


def test_a_reader_of_the_site_asks_nobody_else(site: pathlib.Path) -> None:
    """Scripts, styles, fonts and pictures come with it; what leads elsewhere is a link that somebody follows."""
    for path in [*site.rglob("*.html"), *(site / "images").glob("*.svg")]:
        text = path.read_text()
        assert re.findall(r'<(?:script|img|iframe)[^>]+src="(?:https?:)?//[^"]+"', text) == [], path
        assert re.findall(r'<link[^>]+rel="(?:stylesheet|preconnect|icon)"[^>]+href="(?:https?:)?//', text) == [], path
        assert "@import" not in text, path
        assert "@font-face" not in text, path


@pytest.mark.parametrize(
    ("word", "page"),
    [
        ("igbvf", "nics.html"),
        ("openshift", "install.html"),
        ("insufficient", "troubleshooting.html"),
        ("numvfs", "provisioning.html"),
        ("spoofchk", "configuration.html"),
    ],
)
def test_a_word_finds_its_page(site: pathlib.Path, word: str, page: str) -> None:
    """In the index that the search reads, with an anchor to go to; what a browser makes of it was tried by hand."""
    index = json.loads((site / "search/search_index.json").read_text())
    assert index["config"]["lang"] == ["en"]
    found = [each["location"] for each in index["docs"] if word in each["text"].lower()]
    assert page in {location.partition("#")[0] for location in found}
    for location in found:
        name, _, anchor = location.partition("#")
        assert not anchor or f'id="{anchor}"' in (site / name).read_text()


def test_every_section_can_be_found(site: pathlib.Path) -> None:
    index = {each["location"] for each in json.loads((site / "search/search_index.json").read_text())["docs"]}
    for name in PAGES[1:]:
        built = pathlib.Path(name).with_suffix(".html").name
        sections = re.findall(r'<h[2-6] id="([^"]+)"', (site / built).read_text())
        assert [each for each in sections if f"{built}#{each}" not in index] == []


def test_a_reader_can_choose_light_or_dark(site: pathlib.Path) -> None:
    page = (site / "index.html").read_text()
    schemes = re.findall(r'<input[^>]*data-md-color-media="([^"]*)"[^>]*data-md-color-scheme="(\w+)"', page)
    assert dict(schemes) == {
        "(prefers-color-scheme)": "default",
        "(prefers-color-scheme: light)": "default",
        "(prefers-color-scheme: dark)": "slate",
    }
    assert len(re.findall(r'<label[^>]*for="__palette_\d"', page)) == 3


def test_pictures_have_paper_of_their_own() -> None:
    """So that dark lines are not on a dark page, nor light ones on a light page."""
    for path in (DOCS / "images").glob("*.svg"):
        drawn = re.sub(r"<defs>.*?</defs>", "", path.read_text(), flags=re.DOTALL)
        [page] = re.findall(r'viewBox="0 0 ([\d.]+) ', drawn)
        filled = [each for each in re.findall(r"<rect [^>]*>", drawn) if 'fill="#' in each]
        assert float(re.findall(r' width="([\d.]+)"', filled[0])[0]) > 0.9 * float(page), path
    for path in (DOCS / "images").glob("*.png"):
        with Image.open(path) as picture:
            assert picture.convert("RGBA").getchannel("A").getextrema() == (255, 255), path


def test_the_site_is_shown() -> None:
    """On a port that is free."""
    [example] = table.run_by(__file__, "test_the_site_is_shown")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [*shlex.split(example.command), "--port", str(port)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as serving:
        try:
            assert namespaces.until(lambda: "Quick start" in shown(port), 60)
        finally:
            serving.terminate()  # a script that is started with & has its children ignore SIGINT
            serving.communicate()


def shown(port: int) -> str:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
        return str(answer.read().decode())
    return ""


def test_every_page_of_the_navigation_is_there() -> None:
    navigation = re.findall(r"^ +- (\w+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    missing = {name for name in navigation if not (DOCS / name).exists()}
    assert missing == set()
    assert len(navigation) == len(set(navigation))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "build or serve, not nothing"),
        (["bild"], "build or serve, not bild"),
        (["build", "--port", "1"], "build takes --out and its value"),
    ],
)
def test_a_mistyped_command_line(arguments: list[str], says: str) -> None:
    done = subprocess.run([ROOT / "hack/docs", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert says in done.stderr


def test_what_is_made_of_the_code_is_up_to_date() -> None:
    old = [name for name, text in pages.made().items() if (DOCS / name).read_text() != text]
    assert old == [], "hack/gen-docs writes them again"


def test_each_picture_has_a_script_that_made_it() -> None:
    """hack/gen-docs, with --demo too, which tests/hack/test_demo.py compares with a demo; hack/bench --plot."""
    scripts = {*pages.made(), pages.DEMO, "images/attach.png", "images/traffic.png"} - {"configuration.md"}
    assert {f"images/{path.name}" for path in (DOCS / "images").iterdir()} == scripts


@pytest.mark.parametrize("page", PAGES)
def test_every_example_is_run_by_a_test(page: str) -> None:
    languages = {language for language, _ in BLOCK.findall((ROOT / page).read_text())} - DRAWN
    assert {language for name, language in RUN_BY if name == page} | {"console"} >= languages


@pytest.mark.parametrize(("page", "language"), RUN_BY)
def test_who_runs_an_example_is_there(page: str, language: str) -> None:
    """And a row of the table is about blocks that there are."""
    assert language in {found for found, _ in BLOCK.findall((ROOT / page).read_text())}
    for name in RUN_BY[page, language]:
        path, _, function = name.partition("::")
        text = (ROOT / path).read_text()
        assert f"def {function}(" in text
        assert pathlib.Path(page).name in text


@functools.cache
def helped(module: str, *commands: str) -> frozenset[str]:
    line = [sys.executable, "-m", module, *commands, "--help"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
    return frozenset(re.findall(r"--[a-z][\w-]*", done.stdout))


def flags(arguments: list[str]) -> set[str]:
    """Up to a `--`, behind which another program's begin."""
    mine = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return {word.partition("=")[0] for word in mine if word.startswith("--")}


def unit_file(unit: str) -> pathlib.Path:
    return next(
        path for path in (ROOT / "sriov_installer/units" / unit, ROOT / "deploy/systemd" / unit) if path.exists()
    )


def test_the_values_of_the_quick_start(tmp_path: pathlib.Path) -> None:
    """The chart takes them, and the device plugin what they make of its file."""
    [block] = [text for language, text in BLOCK.findall((DOCS / "quickstart.md").read_text()) if language == "yaml"]
    objects = rendering.chart(yaml.safe_load(block))
    [config] = [each for each in objects if each["kind"] == "ConfigMap"]
    path = tmp_path / "config.json"
    path.write_text(config["data"]["config.json"])
    [resource] = plugin_conf.load(path, "intel.com").resources
    assert resource.full_name == "intel.com/rail_a"


def test_the_variables_of_the_units() -> None:
    blocks = [text for language, text in BLOCK.findall((DOCS / "systemd.md").read_text()) if language == ""]
    modules = {"sriov-cni": "sriov_cni", "sriov-device-plugin": "deviceplugin", "sriov-agent": "sriov_agent"}
    seen = set()
    for line in "".join(blocks).splitlines():
        variable, _, value = line.partition("=")
        name = variable.removesuffix("_OPTIONS").lower().replace("_", "-")
        seen.add(name)
        assert f"${variable}" in unit_file(f"{name}.service").read_text()
        assert flags(shlex.split(value.strip('"'))) <= helped(modules[name])
    assert seen == {*modules}


def test_symptoms_are_what_the_programs_say() -> None:
    """Findings by their names; words of errors, health and explain as they stand in the code."""
    page = (DOCS / "troubleshooting.md").read_text()
    quoted = set(re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", page, flags=re.DOTALL)))
    kinds = {kind.title for kind in findings.Kind}
    named = {each for each in quoted if re.fullmatch(r"[a-z]+(-[a-z]+)+", each)}
    assert named <= kinds
    assert len(named) > 10
    source = "".join(path.read_text() for name in SOURCES for path in (ROOT / name).rglob("*.py"))
    sentences = {each for each in quoted if " " in each and not each.startswith((*TYPED, *FOREIGN))}
    assert len(sentences) > 8
    parts = [part for each in sentences for part in each.split(" … ")]
    assert [part for part in parts if part not in source] == []
