"""Names that the kubelet accepts, and sockets that fit into sockaddr_un."""

import socket

import hypothesis
import pytest
from hypothesis import strategies

from sriov import errors
from sriov.kubelet import names

LABEL = strategies.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?\Z")
NAME = strategies.from_regex(r"\A[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?\Z")


@pytest.mark.parametrize("name", ["a", "intel_sriov-1", "A" * 63])
def test_d5_names_that_are_accepted(name: str) -> None:
    assert names.name_is_valid(name)


@pytest.mark.parametrize("name", ["", "-x", "x_", "a.b", "a/b", "A" * 64, "ä", "a\n"])
def test_d5_names_that_are_refused(name: str) -> None:
    assert not names.name_is_valid(name)


@pytest.mark.parametrize("prefix", ["intel.com", "a", "my-company.example", "a" * 244])
def test_d5_prefixes_that_are_accepted(prefix: str) -> None:
    assert names.prefix_is_valid(prefix)


@pytest.mark.parametrize(
    "prefix",
    ["", "Intel.com", "kubernetes.io", "x.kubernetes.io", "requests.x", "a..b", "-a", "a_b", "a/b", "a" * 245, "../x"],
)
def test_d5_prefixes_that_are_refused(prefix: str) -> None:
    assert not names.prefix_is_valid(prefix)


def test_the_socket_has_the_incumbents_name() -> None:
    assert names.socket("intel.com", "sriov", 60) == "intel.com_sriov.sock"


@hypothesis.given(LABEL, NAME, strategies.integers(19, 100))
def test_d3_d4_a_socket_fits_and_is_a_bare_file_name(prefix: str, name: str, room: int) -> None:
    made = names.socket(prefix, name, room)
    assert len(made) <= room
    assert "/" not in made
    assert made.endswith(".sock")


def test_d4_long_names_that_begin_alike_stay_apart() -> None:
    assert names.socket("intel.com", "x" * 62 + "a", 40) != names.socket("intel.com", "x" * 62 + "b", 40)


def test_d4_a_directory_too_deep_is_told() -> None:
    with pytest.raises(errors.SriovError, match=r"too deep for intel\.com_sriov"):
        names.socket("intel.com", "sriov", 17)


def test_d4_the_kernel_takes_as_many_bytes_as_we_think() -> None:
    with socket.socket(socket.AF_UNIX) as probe:
        with pytest.raises(FileNotFoundError):
            probe.connect("/" + "x" * (names.PATH_MAX - 1))
        with pytest.raises(OSError, match="too long"):
            probe.connect("/" + "x" * names.PATH_MAX)
