"""The image's bill of materials is CycloneDX, whole, and in the image."""

import hashlib
import importlib
import json
import os
import pathlib
import re
import subprocess
from typing import Any

import pytest
from cyclonedx import schema

from tests import artefacts

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def text() -> str:
    try:
        return (artefacts.rootfs() / "usr/share/sriov-underlay/sbom.cdx.json").read_text()
    except artefacts.BuildError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error).splitlines()[-1])


def test_it_follows_the_schema(text: str) -> None:
    validation = importlib.import_module("cyclonedx.validation.json")  # late: it takes two seconds
    validator = validation.JsonStrictValidator(schema.SchemaVersion.V1_6)
    assert validator.validate_str(text) is None
    assert validator.validate_str(text.replace('"version": 1,', '"version": -1,')) is not None


def test_it_lists_every_package_once(text: str) -> None:
    page = (artefacts.PROJECT / "deploy/image/packages").read_text()
    locked = re.findall(r"^([\w.-]+)==", (artefacts.PROJECT / "requirements.lock").read_text(), re.M)
    listed = [each["name"] for each in json.loads(text)["components"]]
    assert sorted(listed) == sorted([*re.findall(r"^[a-z].*$", page, re.M), *locked])


def test_the_same_image_has_the_same_bill(text: str) -> None:
    assert json.loads(text)["metadata"]["component"]["name"] == "sriov-underlay"
    made = subprocess.run([artefacts.PROJECT / "hack/build-sbom", artefacts.ROOTFS], check=True, capture_output=True)
    assert made.stdout.decode() == text


def test_each_package_has_the_hash_of_the_file_that_it_came_in(text: str) -> None:
    """PyPI's are pinned, Debian's are those that apt has verified; ours is the wheel."""
    lock = (artefacts.PROJECT / "requirements.lock").read_text()
    bill = json.loads(text)
    for each in bill["components"]:
        [digest] = each["hashes"]
        assert re.fullmatch("SHA-256 [0-9a-f]{64}", f"{digest['alg']} {digest['content']}")
        assert each["purl"].startswith("pkg:deb/") or f"--hash=sha256:{digest['content']}" in lock, each["name"]
    [ours] = bill["metadata"]["component"]["hashes"]
    assert ours["content"] == hashlib.sha256(artefacts.wheel().read_bytes()).hexdigest()


def test_each_package_has_its_licences(text: str) -> None:
    said = {each["name"]: [_said(one) for one in each["licenses"]] for each in json.loads(text)["components"]}
    assert [name for name, licensed in said.items() if not licensed] == []
    assert said["pyudev"] == ["LGPL-2.1-or-later"]  # an identifier
    assert said["protobuf"] == ["BSD-3-Clause"]  # PyPI's words
    assert said["prometheus-client"] == ["Apache-2.0 AND BSD-2-Clause"]  # an expression
    assert said["libexpat1"] == ["MIT"]  # Debian's name for it, in a file for machines
    assert {"GPL-2", "LGPL-2.1"} <= {*said["libc6"]}  # a file for people, which refers to them
    assert "PSF-2.0" in said["python3.11-minimal"]


def _said(one: dict[str, Any]) -> str:
    licensed = one.get("license", one)
    return str(licensed.get("id") or licensed.get("name") or licensed["expression"])


def test_what_makes_it_is_what_the_tests_have() -> None:
    pinned = (artefacts.PROJECT / "hack/sbom.lock").read_text()
    every = (artefacts.PROJECT / "requirements-dev.lock").read_text()
    blocks = re.findall(r"^\S+==.*\n(?:    .*\n?)*", pinned, re.MULTILINE)
    assert len(blocks) > 5
    assert [block for block in blocks if block not in every] == []


def test_another_folder_is_refused(tmp_path: pathlib.Path) -> None:
    command = [artefacts.PROJECT / "hack/build-sbom", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "usage: hack/build-sbom DIR" in done.stderr
