from hack.guest.downloads import mirrors
from tests import suppliers

KEY = "signed-by=/usr/share/keyrings/debian-archive-keyring.gpg"


def test_only_debian_12_s_own_packages_are_taken() -> None:
    read = [
        mirrors.Source("http://one.example/debian", ("bookworm", "bookworm-updates", "sid"), ("main", "contrib")),
        mirrors.Source("http://one.example/security", ("bookworm-security",), ("main",)),
        mirrors.Source("http://other.example/tools", ("bookworm",), ("stable",)),
    ]
    assert suppliers.sources(read) == [
        f"deb [{KEY}] http://one.example/debian bookworm main",
        f"deb [{KEY}] http://one.example/debian bookworm-updates main",
        f"deb [{KEY}] http://one.example/security bookworm-security main",
    ]


def test_a_machine_with_another_debian_takes_debian_12_from_its_mirrors() -> None:
    read = [
        mirrors.Source("http://one.example/debian", ("trixie", "trixie-updates"), ("main",)),
        mirrors.Source("http://one.example/security", ("trixie-security",), ("main",)),
    ]
    assert suppliers.sources(read) == [
        f"deb [{KEY}] http://one.example/debian bookworm main",
        f"deb [{KEY}] http://one.example/security bookworm-security main",
    ]


def test_of_pip_s_settings_those_that_lead_to_an_index() -> None:
    listed = r"""
:env:.index-url='https://variable.example/simple'
global.cert='/etc/a.crt'
global.extra-index-url='\nhttps://one.example/simple\nfile:///opt/simple'
global.find-links='/opt/wheels'
global.index-url='https://file.example/simple'
"""
    assert suppliers.pip_settings(listed) == {
        "cert": "/etc/a.crt",
        "extra-index-url": "https://one.example/simple",
        "index-url": "https://variable.example/simple",
    }
