"""The keys of a host link: what is asked for, and one clear error for each mistake."""

import json

import pytest

from sriov_cni.spec import cni_errors, environment, netconf, vf_request

IPAM = {"type": "static"}


def read(**keys: object) -> object:
    document = {"deviceID": "0000:01:10.0", "ipam": IPAM, **keys}
    return vf_request.read(netconf.decode(json.dumps(document).encode()), environment.Arguments()).host_link


@pytest.mark.parametrize("keys", [{}, {"hostLink": False}, {"hostLink": ""}, {"hostLink": None, "viaHost": []}])
def test_without_the_key_there_is_none(keys: dict[str, object]) -> None:
    assert read(**keys) is None


@pytest.mark.parametrize(
    ("keys", "code", "named"),
    [
        ({"viaHost": ["10.0.0.0/8"]}, 7, "viaHost 10.0.0.0/8 needs a host link"),
        ({"hostLink": True, "ipam": None}, 7, "has no ipam"),
        ({"hostLink": True, "viaHost": ["10.0.0.1/8"]}, 7, "viaHost '10.0.0.1/8' is not a network"),
        ({"hostLink": True, "viaHost": ["everything"]}, 7, "viaHost 'everything' is not a network"),
        ({"hostLink": True, "viaHost": "10.0.0.0/8"}, 6, "viaHost"),
        ({"hostLink": 1}, 6, "hostLink"),
        ({"hostLink": "lo"}, 7, "hostLink 'lo' is reserved"),
        ({"hostLink": "a-name-that-is-long"}, 7, "at most 15 bytes"),
        ({"hostLink": 'a"accept;'}, 7, "must begin with a letter or digit"),
        ({"hostLink": "host*"}, 7, "must begin with a letter or digit"),
    ],
)
def test_a_mistake_is_named(keys: dict[str, object], code: int, named: str) -> None:
    with pytest.raises(cni_errors.CniError) as caught:
        read(**keys)
    assert (caught.value.code, named in caught.value.message) == (code, True), caught.value.message
    assert caught.value.details
