"""The image's bill of materials is CycloneDX, whole, and in the image."""

import json
import os
import pathlib
import re
import subprocess

import pytest
from cyclonedx import schema
from cyclonedx.validation import json as validation

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


def test_another_folder_is_refused(tmp_path: pathlib.Path) -> None:
    command = [artefacts.PROJECT / "hack/build-sbom", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "usage: hack/build-sbom DIR" in done.stderr
