"""SBOM of an image, as CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/): `python -m hack.sbom ROOT`.

Read from the root file system itself: dpkg's status.d and Python's dist-info folders. Needs only Python. It contains
neither time nor place of its making, so that the same image has the same bill.
"""

import email
import importlib.metadata
import json
import pathlib
import sys
from typing import Any

NAME = "sriov-underlay"


def bill(root: pathlib.Path) -> dict[str, Any]:
    """Return the image's bill of materials; its subject is the wheel itself."""
    [packages] = (root / "usr/local/lib").glob("python3.*/dist-packages")
    python = {each.name: each for each in importlib.metadata.distributions(path=[str(packages)])}
    ours = python.pop(NAME)
    components = [*map(_debian, sorted((root / "var/lib/dpkg/status.d").iterdir()))]
    components += [_python(python[name]) for name in sorted(python)]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": _python(ours) | {"type": "container"}},
        "components": components,
    }


def _python(found: importlib.metadata.Distribution) -> dict[str, Any]:
    name = found.name.lower().replace("_", "-")
    return _component("library", name, found.version, f"pkg:pypi/{name}@{found.version}")


def _debian(status: pathlib.Path) -> dict[str, Any]:
    fields = email.message_from_string(status.read_text())
    name, version = fields["Package"], fields["Version"]
    escaped = version.replace("+", "%2B").replace(":", "%3A")
    purl = f"pkg:deb/debian/{name}@{escaped}?arch={fields['Architecture']}&distro=debian-12"
    return _component("library", name, version, purl)


def _component(kind: str, name: str, version: str, purl: str) -> dict[str, Any]:
    return {"type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl}


if __name__ == "__main__":
    json.dump(bill(pathlib.Path(sys.argv[1])), sys.stdout, indent=2)
    print()
