"""Licences of a package by SPDX's identifiers (https://spdx.org/licenses/), as far as it states them for machines."""

import logging
import pathlib
import re
from collections.abc import Iterable

from cyclonedx import spdx
from cyclonedx.model import license as model
from debian import copyright as debian

_COMMON = re.compile(r"/usr/share/common-licenses/([A-Za-z0-9.+-]*[A-Za-z0-9])")
_GNU = re.compile(r"(L|A|)GPL-(\d)(?:\.(\d))?(\+?)", re.IGNORECASE)
_OTHERS = {"expat": "MIT", "3-clause bsd license": "BSD-3-Clause"}
_HEADINGS = {"PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2": "PSF-2.0"}
_DECLARED = model.LicenseAcknowledgement.DECLARED

logging.getLogger("debian.copyright").setLevel(logging.ERROR)  # an address with http: is corrected without a word


def of_python(stated: str) -> list[model.License]:
    """Return what a Python package states: an expression as a whole, or one name."""
    name = _identifier(stated)
    if spdx.is_expression(name) and not spdx.is_supported_id(name):
        return [model.LicenseExpression(name, acknowledgement=_DECLARED)]
    return _licences([name])


def of_debian(path: pathlib.Path) -> list[model.License]:
    """Return what a copyright file of Debian names: all licences of all parts of the package.

    A file that is not for machines refers to Debian's common licences in its text, and does not say whether a later
    version may be chosen, so these have no identifier of SPDX.
    """
    text = path.read_text(errors="replace")
    try:
        found = debian.Copyright(text.splitlines(), strict=False)
    except debian.NotMachineReadableError:
        known = [identifier for heading, identifier in _HEADINGS.items() if heading in text]
        return _licences(known) + [_name(common) for common in sorted(set(_COMMON.findall(text)))]
    stated = [_stated(each) for each in found.all_files_paragraphs()]
    return _licences(_identifier(part) for each in stated for part in re.split(r",? (?:and|or) |, ", each))


def _stated(paragraph: debian.FilesParagraph) -> str:
    """What a paragraph states; some leave it out, against the format."""
    try:
        return str(paragraph["License"]).partition("\n")[0]
    except KeyError:
        return ""


def _licences(names: Iterable[str]) -> list[model.License]:
    return [_id(name) if spdx.is_supported_id(name) else _name(name) for name in sorted({*names} - {"", "none"})]


def _id(identifier: str) -> model.License:
    return model.DisjunctiveLicense(id=identifier, acknowledgement=_DECLARED)


def _name(name: str) -> model.License:
    return model.DisjunctiveLicense(name=name, acknowledgement=_DECLARED)


def _identifier(name: str) -> str:
    """Return SPDX's identifier of what Debian or PyPI calls so, or the name."""
    if gnu := _GNU.fullmatch(name):
        kind, major, minor, later = gnu.groups()
        return f"{kind.upper()}GPL-{major}.{minor or 0}-{'or-later' if later else 'only'}"
    return _OTHERS.get(name.lower()) or spdx.fixup_id(name) or name
