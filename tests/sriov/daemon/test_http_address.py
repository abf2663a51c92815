"""Addresses that `--http` accepts, and its errors for others."""

import argparse
import pathlib
import re

import pytest

from sriov.daemon import http_address


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("127.0.0.1:9557", http_address.Tcp("127.0.0.1", 9557)),
        ("localhost:80", http_address.Tcp("localhost", 80)),
        ("[::1]:65535", http_address.Tcp("::1", 65535)),
        ("unix:/run/sriov/http.sock", http_address.Unix(pathlib.Path("/run/sriov/http.sock"))),
    ],
)
def test_an_address_is_read_and_told_as_it_was_written(text: str, meant: http_address.Address) -> None:
    assert http_address.address(text) == meant
    assert str(meant) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "names no host"),
        ("9557", "names no host"),
        (":9557", "names no host"),
        ("::1:9557", "names no host"),
        ("127.0.0.1", "names no host"),
        ("127.0.0.1:http", "'http' is no port"),
        ("127.0.0.1:0", "'0' is no port"),
        ("127.0.0.1:65536", "'65536' is no port"),
        ("127.0.0.1:-1", "'-1' is no port"),
        ("unix:http.sock", "begins with /"),
        ("unix:", "begins with /"),
    ],
)
def test_what_is_none_is_refused_with_what_to_write(text: str, why: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=re.escape(why)) as refused:
        http_address.address(text)
    assert str(refused.value).startswith(f"invalid address {text!r}: ")
    assert "write HOST:PORT" in str(refused.value)
