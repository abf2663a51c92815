from __future__ import annotations

from pathlib import Path

from hack.guest.downloads import mirrors

ONE_LINE = """\
# deb http://commented.example/debian bookworm main
deb http://mirror.example/debian bookworm main contrib # trailing words
deb-src http://mirror.example/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/a.gpg] https://tools.example/apt tools-bookworm main
deb\thttp://short.example/
"""

DEB822 = """\
Types: deb deb-src
# a comment inside a stanza
URIs: http://one.example/debian
 http://two.example/debian
Suites: bookworm
 bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
Enabled: no

Types: deb
URIs: http://security.example/debian-security
Suites: bookworm-security
Components: main
"""


def test_the_one_line_format() -> None:
    assert mirrors.parse_one_line(ONE_LINE) == [
        mirrors.Source("http://mirror.example/debian", ("bookworm",), ("main", "contrib")),
        mirrors.Source("https://tools.example/apt", ("tools-bookworm",), ("main",)),
    ]


def test_the_deb822_format() -> None:
    suites = ("bookworm", "bookworm-updates")
    assert mirrors.parse_deb822(DEB822) == [
        mirrors.Source("http://one.example/debian", suites, ("main",)),
        mirrors.Source("http://two.example/debian", suites, ("main",)),
        mirrors.Source("http://security.example/debian-security", ("bookworm-security",), ("main",)),
    ]


def test_only_archives_with_a_release_of_debian_can_have_its_backports() -> None:
    sources = mirrors.parse_one_line(ONE_LINE) + mirrors.parse_deb822(DEB822)
    assert mirrors.archives(sources) == [
        "http://mirror.example/debian",
        "http://one.example/debian",
        "http://two.example/debian",
    ]


def test_archives_of_security_updates_are_told_from_others() -> None:
    text = """deb http://one.example/debian trixie main
deb http://two.example/debian-security trixie-security main contrib
deb http://three.example/debian-security trixie-security contrib
deb http://four.example/vendor stable-security-tools main
"""
    assert mirrors.security(mirrors.parse_one_line(text)) == ["http://two.example/debian-security"]


def test_a_machines_sources_are_read_in_apts_order_and_other_files_are_not(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb http://first.example/debian bookworm main\n")
    (tmp_path / "sources.list.d" / "b.list").write_text("deb http://third.example/debian sid main\n")
    (tmp_path / "sources.list.d" / "a.sources").write_text(
        "Types: deb\nURIs: http://second.example/debian\nSuites: trixie\nComponents: main\n"
    )
    (tmp_path / "sources.list.d" / "c.list.disabled").write_text("deb http://off.example/debian sid main\n")
    assert [source.uri for source in mirrors.read(tmp_path)] == [
        "http://first.example/debian",
        "http://second.example/debian",
        "http://third.example/debian",
    ]


def test_a_machine_without_any_sources_has_no_archive(tmp_path: Path) -> None:
    assert mirrors.archives(mirrors.read(tmp_path)) == []
