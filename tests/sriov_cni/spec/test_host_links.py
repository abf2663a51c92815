"""The keys of a host link: what is asked for, and one clear error for each mistake."""

import ipaddress
import json

import pytest

from sriov_cni.spec import cni_errors, environment, host_links, netconf, vf_request

IPAM = {"type": "static"}


def read(**keys: object) -> object:
    document = {"deviceID": "0000:01:10.0", "ipam": IPAM, **keys}
    return vf_request.read(netconf.decode(json.dumps(document).encode()), environment.Arguments()).host_link


@pytest.mark.parametrize("keys", [{}, {"hostLink": False}, {"hostLink": ""}, {"hostLink": None, "viaHost": []}])
def test_without_the_key_there_is_none(keys: dict[str, object]) -> None:
    assert read(**keys) is None


@pytest.mark.parametrize(
    ("keys", "wish"),
    [
        ({"hostLink": True}, host_links.HostLinkWish("host0")),
        ({"hostLink": "up", "services": "off"}, host_links.HostLinkWish("up")),
        ({"services": "host"}, host_links.HostLinkWish("host0", services=True)),
        ({"services": "host", "hostLink": "up"}, host_links.HostLinkWish("up", services=True)),
        ({"services": "socket", "hostLink": True}, host_links.HostLinkWish("host0")),
        (
            {"services": "host", "viaHost": ["10.96.0.0/12"]},
            host_links.HostLinkWish("host0", (ipaddress.ip_network("10.96.0.0/12"),), services=True),
        ),
    ],
)
def test_services_by_the_host_need_one_and_have_it(keys: dict[str, object], wish: host_links.HostLinkWish) -> None:
    assert read(**keys) == wish


@pytest.mark.parametrize(
    ("keys", "code", "named"),
    [
        ({"viaHost": ["10.0.0.0/8"]}, 7, "viaHost 10.0.0.0/8 needs a host link"),
        ({"hostLink": True, "ipam": None}, 7, "has no ipam"),
        ({"hostLink": True, "viaHost": ["10.0.0.1/8"]}, 7, "viaHost '10.0.0.1/8' is not a network"),
        ({"hostLink": True, "viaHost": ["everything"]}, 7, "viaHost 'everything' is not a network"),
        ({"hostLink": True, "viaHost": "10.0.0.0/8"}, 6, "viaHost"),
        ({"services": "host", "hostLink": False}, 7, 'services "host" needs a host link, and hostLink is false'),
        ({"services": "host", "ipam": None}, 7, 'services "host" needs a pod with addresses'),
        ({"services": "hosts"}, 2, "services 'hosts' is no way to reach Services"),
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
