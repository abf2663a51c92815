"""SBOM of an image, as CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/): `python -m hack.sbom ROOT`.

Read from the root file system itself: dpkg's status.d, Debian's copyright files, Python's dist-info folders, and the
hashes of the packages that it was made of. It contains neither time nor place of its making, so that the same image
has the same bill. hack/sbom.lock pins the libraries.
"""

import datetime
import importlib.metadata
import pathlib
import re
import sys
import uuid
from collections.abc import Iterable, Mapping

import packageurl
from cyclonedx import output, schema
from cyclonedx.contrib.this import builders
from cyclonedx.model import HashAlgorithm, HashType, bom, component, contact, tool
from cyclonedx.model import license as licensing
from debian import deb822

from hack import licences

NAME = "sriov-underlay"
SUMS = "usr/share/sriov-underlay/packages.sha256"
_TIME = datetime.datetime.fromtimestamp(315532800, datetime.UTC)  # as all files in the image
_DEBIAN = contact.OrganizationalEntity(name="Debian")


def bill(root: pathlib.Path) -> bom.Bom:
    """Return the image's bill of materials; its subject is the wheel itself."""
    sums = _sums(root)
    [packages] = (root / "usr/local/lib").glob("python3.*/dist-packages")
    found = {_normal(each.name): each for each in importlib.metadata.distributions(path=[str(packages)])}
    image = _python(found.pop(NAME), sums, component.ComponentType.CONTAINER)
    parts = [_debian(path, sums) for path in sorted((root / "var/lib/dpkg/status.d").iterdir())]
    parts += [_python(found[name], sums) for name in sorted(found)]
    metadata = bom.BomMetaData(
        component=image, timestamp=_TIME, tools=tool.ToolRepository(components=[builders.this_component()])
    )
    made = bom.Bom(components=parts, metadata=metadata, serial_number=_serial([image, *parts]))
    made.register_dependency(image, parts)
    return made


def _sums(root: pathlib.Path) -> Mapping[tuple[str, str], str]:
    """Return the SHA-256 of each package by name and version, as `sha256sum` wrote them down by the names of files."""
    found = {}
    for line in (root / SUMS).read_text().splitlines():
        digest, file = line.split("  ")
        name, version = re.split("_" if file.endswith(".deb") else "-", file)[:2]
        found[_normal(name), version.replace("%3a", ":")] = digest
    return found


def _python(
    found: importlib.metadata.Distribution,
    sums: Mapping[tuple[str, str], str],
    kind: component.ComponentType = component.ComponentType.LIBRARY,
) -> component.Component:
    purl = packageurl.PackageURL("pypi", None, _normal(found.name), found.version)
    fields = found.metadata
    stated = fields["License-Expression"] or fields["License"]
    return _component(purl, licences.of_python(stated), sums, kind)


def _debian(status: pathlib.Path, sums: Mapping[tuple[str, str], str]) -> component.Component:
    fields = deb822.Deb822(status.read_text())
    qualifiers = {"arch": fields["Architecture"], "distro": "debian-12"}
    purl = packageurl.PackageURL("deb", "debian", fields["Package"], fields["Version"], qualifiers)
    copyrights = status.parents[4] / "usr/share/doc" / fields["Package"] / "copyright"
    return _component(purl, licences.of_debian(copyrights), sums, supplier=_DEBIAN)


def _component(
    purl: packageurl.PackageURL,
    licensed: Iterable[licensing.License],
    sums: Mapping[tuple[str, str], str],
    kind: component.ComponentType = component.ComponentType.LIBRARY,
    supplier: contact.OrganizationalEntity | None = None,
) -> component.Component:
    return component.Component(
        name=purl.name,
        version=purl.version,
        type=kind,
        bom_ref=str(purl),
        purl=purl,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sums[purl.name, purl.version or ""])],
        licenses=licensed,
        supplier=supplier,
    )


def _normal(name: str) -> str:
    """Return the name as indexes have it (packaging.python.org, "Names and normalization"); Debian's have no others."""
    return re.sub(r"[-_]+", "-", name).lower()


def _serial(parts: Iterable[component.Component]) -> uuid.UUID:
    """Return the same number for the same packages: no other bill may have it."""
    known = sorted(f"{each.bom_ref.value} {digest.content}" for each in parts for digest in each.hashes)
    return uuid.uuid5(uuid.NAMESPACE_OID, "\n".join(known))


if __name__ == "__main__":
    written = output.make_outputter(
        bill(pathlib.Path(sys.argv[1])), schema.OutputFormat.JSON, schema.SchemaVersion.V1_6
    )
    print(written.output_as_string(indent=2))
