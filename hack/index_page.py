"""Page of the wheel on an index of packages: `python -m hack.index_page SOURCE` makes it, in a copy of the sources.

An index has neither the repository's files nor Mermaid. If PROJECT_URL says where the repository is published, links
and pictures lead there, at the tag of the version, and the metadata has its addresses; else only their words are left.
No address stands in the repository: a fork's wheel must not send its users to somebody else.
"""

import os
import pathlib
import re
import sys
import tomllib
from collections.abc import Callable

_DRAWING = re.compile(r"^```mermaid\n.*?^```\n\n?", re.DOTALL | re.MULTILINE)
_FENCED = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:|#)([^)\s]+)\)")
_ADDRESS = re.compile(r"https://[\w.-]+(:\d+)?(/[\w.~-]+)+")


class AddressError(Exception):
    """PROJECT_URL is no address of a repository."""


def description(readme: str, version: str, url: str | None) -> str:
    """Return the README as it can be read on an index."""
    parts = _FENCED.split(_DRAWING.sub("", readme))
    text = "".join(part if part.startswith("```") else _LINK.sub(_linked(version, url), part) for part in parts)
    return re.sub(r"\n{3,}", "\n\n", text)


def _linked(version: str, url: str | None) -> Callable[[re.Match[str]], str]:
    def one(found: re.Match[str]) -> str:
        picture, words, path = found.groups()
        if url is None:
            return "" if picture else words
        return f"{picture}[{words}]({url}/{'raw' if picture else 'blob'}/v{version}/{path})"

    return one


def addresses(version: str, url: str | None) -> str:
    """Return the table for pyproject.toml, by labels that indexes know (packaging.python.org, "Well-known labels")."""
    if url is None:
        return ""
    page = f"{url}/blob/v{version}"
    found = {
        "Homepage": url,
        "Source": url,
        "Documentation": f"{page}/docs/index.md",
        "Changelog": f"{page}/CHANGELOG.md",
        "Issues": f"{url}/issues",
    }
    return "".join(["\n[project.urls]\n", *(f'{label} = "{address}"\n' for label, address in found.items())])


def checked(url: str | None) -> str | None:
    """Return the address without a / at its end, or None; raises AddressError."""
    if not url:
        return None
    if not _ADDRESS.fullmatch(url.rstrip("/")):
        raise AddressError(
            f"PROJECT_URL {url!r}: not the https address of a repository; set it to one such as "
            "https://forge.example/owner/repository, or leave it out"
        )
    return url.rstrip("/")


def main(source: pathlib.Path) -> None:
    url = checked(os.environ.get("PROJECT_URL"))
    readme, project = source / "README.md", source / "pyproject.toml"
    version = tomllib.loads(project.read_text())["project"]["version"]
    readme.write_text(description(readme.read_text(), version, url))
    project.write_text(project.read_text() + addresses(version, url))


if __name__ == "__main__":
    try:
        main(pathlib.Path(sys.argv[1]))
    except AddressError as error:
        sys.exit(f"build-wheel: {error}")
