"""Reading of a claim: its devices, each with the parameters that the API says count for it."""

from typing import Any

import pytest

from sriov_dra.claims import networks, reading
from tests.sriov_dra.claims import claims
from tests.sriov_dra.claims.claims import config, parameters, result


def merged(*configs: Any, request: str = "vf") -> dict[str, Any]:
    [found] = reading.devices(claims.decoded(claims.claim(result(request=request), configs=configs)), claims.DRIVER)
    return found.parameters


def test_without_parameters_there_are_none() -> None:
    assert merged() == {}


def test_what_the_class_says_for_all_requests_counts() -> None:
    """dra-driver-sriov passes over a class's configuration, since that has no requests."""
    assert merged(config(parameters(vlan=5), of="FromClass")) == {"vlan": 5}


def test_the_claim_wins_over_the_class_key_by_key_wherever_they_stand() -> None:
    own = config(parameters(vlan=7), "vf")
    assert merged(own, config(parameters(vlan=5, trust="on"), of="FromClass")) == {"vlan": 7, "trust": "on"}


def test_the_later_of_two_wins() -> None:
    assert merged(config(parameters(vlan=5, mtu=9000)), config(parameters(vlan=6), "vf")) == {"vlan": 6, "mtu": 9000}


@pytest.mark.parametrize(("requests", "counts"), [
    ((), True), (("vf",), True), (("vf/fast",), True), (("vf/slow",), False), (("gpu",), False), (("gpu", "vf"), True),
])  # fmt: skip
def test_a_requests_name_covers_its_subrequests(requests: tuple[str, ...], counts: bool) -> None:
    """dra-driver-sriov does not match them."""
    assert bool(merged(config(parameters(vlan=5), *requests), request="vf/fast")) is counts


def test_a_device_of_a_subrequest_is_its_requests() -> None:
    [found] = reading.devices(claims.decoded(claims.claim(result(request="vf/fast"))), claims.DRIVER)
    assert (found.request, found.full_request) == ("vf", "vf/fast")


def test_others_devices_and_parameters_are_passed_over() -> None:
    told = claims.claim(
        result(),
        result("gpu-0", "gpu", driver="gpu.example.com"),
        configs=[config({"kind": "GpuConfig"}, driver="gpu.example.com")],
    )
    [found] = reading.devices(claims.decoded(told), claims.DRIVER)
    assert (found.device, found.parameters) == ("0000-01-10-0", {})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "FromClaim config[0]: opaque.parameters is no object; write one of kind VfNetwork"),
        ({"kind": "VfNetwork"}, 'opaque.parameters.apiVersion is None; write "sriov-underlay/v1"'),
        (parameters() | {"kind": "VfConfig"}, "opaque.parameters.kind is 'VfConfig'; write \"VfNetwork\""),
    ],
)
def test_parameters_of_another_kind_are_refused(given: Any, message: str) -> None:
    with pytest.raises(reading.ClaimError) as caught:
        merged(config(given))
    assert message in str(caught.value)


def test_a_claim_without_an_allocation_is_refused() -> None:
    told = claims.claim()
    del told["status"]["allocation"]
    with pytest.raises(reading.ClaimError, match="the claim is not allocated; the scheduler allocates it"):
        reading.devices(claims.decoded(told), claims.DRIVER)


def test_a_request_that_could_be_a_path_is_refused() -> None:
    with pytest.raises(reading.ClaimError, match=r"request '\.\./x' is not a request's name"):
        reading.devices(claims.decoded(claims.claim(result(request="../x"))), claims.DRIVER)


def test_admin_access_is_refused() -> None:
    with pytest.raises(reading.ClaimError, match="request 'vf' has adminAccess: a VF that a pod has cannot be in a"):
        reading.devices(claims.decoded(claims.claim(result(adminAccess=True))), claims.DRIVER)


def network(**keys: Any) -> networks.ClaimNetwork:
    known = {"blue": {"name": "blue", "type": "sriov", "vlan": 20, "ipam": {"type": "host-local"}, "logLevel": "x"}}

    def named(name: str) -> networks.Keys:
        if name not in known:
            raise LookupError("there is none of this name in /etc/cni/net.d")
        return known[name]

    return networks.read("vf", keys, "0000:01:10.0", named)


def test_the_keys_are_those_of_the_cni_plugin() -> None:
    assert network(vlan=5, interface="net1") == networks.ClaimNetwork("net1", {"vlan": 5})
    assert network() == networks.NONE


def test_the_reason_of_a_vf_that_is_not_attached_is_no_key_of_the_cni_plugin() -> None:
    assert network(unattached=" another plugin ", vlan=5) == networks.ClaimNetwork(
        "", {"vlan": 5}, unattached="another plugin"
    )


def test_a_network_of_the_node_is_meant_by_its_name_and_the_claims_own_keys_win() -> None:
    """Its name and its addresses are for a CNI call that names no network of its own for the VF."""
    assert network(network="blue") == networks.ClaimNetwork("", {"vlan": 20}, "blue", {"type": "host-local"})
    assert network(network="blue", mtu=9000).configuration == {"vlan": 20, "mtu": 9000}
    assert network(network="blue", vlan=21).configuration == {"vlan": 21}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"vlan": 5000}, "vlan id 5000 invalid: value must be in the range 0-4094"),
        ({"vlan": "5"}, "Expected `int | null`, got `str` - at `$.vlan`"),
        ({"vlna": 5}, "vlna 5: there is no such key; use allmulti, "),
        ({"trust": "yes"}, "trust 'yes' is neither on nor off"),
        ({"deviceID": "0000:01:10.1"}, "deviceID '0000:01:10.1' is not the claim's to say; write it in the"),
        ({"ipam": {"type": "static"}}, "ipam {'type': 'static'} is not the claim's to say; write it in the network"),
        (
            {"policy": "off"},
            "policy 'off' is not the claim's to say; write it in the network configuration of the CNI call",
        ),
        ({"claims": "alone"}, "claims 'alone' is not the claim's to say"),
        ({"policyRaw": False}, "policyRaw False is not the claim's to say"),
        ({"interface": "a/b"}, "interface 'a/b' must not hold '/'"),
        ({"interface": 7}, "interface 7 must be a string"),
        ({"interface": "net1+"}, "interface 'net1+' must hold only letters, digits, '_', '.', '-'"),
        ({"hostLinkAddresses": ["10.96.0.1/32"]}, "hostLinkAddresses ['10.96.0.1/32'] is not the claim's to say"),
        ({"viaHost": ["0.0.0.0/0"]}, "viaHost ['0.0.0.0/0'] is not the claim's to say"),
        ({"unattached": ""}, "unattached '' is no reason; write why a pod may start without the VF, in one line"),
        ({"unattached": True}, "unattached True is no reason"),
        ({"unattached": "a\nb"}, "unattached 'a\\nb' is no reason"),
        ({"unattached": "x" * 201}, "of at most 200 characters"),
        ({"network": "red"}, "network 'red': there is none of this name in /etc/cni/net.d; name a network of the node"),
        ({"vlanTrunk": [1]}, "vlanTrunk [1]: no driver takes a list of VLANs"),
    ],
)
def test_what_no_vf_can_have_is_refused_with_the_keys_name(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(reading.ClaimError) as caught:
        network(**keys)
    assert str(caught.value).startswith("request 'vf': VfNetwork: ")
    assert message in str(caught.value)


def test_only_a_class_says_that_a_pod_may_start_without_the_vf() -> None:
    given = claims.parameters(unattached="by hand")
    found = reading.devices(
        claims.decoded(claims.claim(claims.result(), configs=[claims.config(given, of="FromClass")])), claims.DRIVER
    )
    assert found[0].parameters == {"unattached": "by hand"}
    with pytest.raises(reading.ClaimError, match="unattached 'by hand' is not the claim's to say"):
        reading.devices(claims.decoded(claims.claim(claims.result(), configs=[claims.config(given)])), claims.DRIVER)


def test_a_network_of_the_node_that_holds_to_less_takes_no_policy_off() -> None:
    known = {"policy": "off", "policyUnknown": "allow", "policyRaw": False, "vlan": 20}
    found = networks.read("vf", {"network": "red"}, "0000:01:10.0", lambda _: known)
    assert found.configuration == {"vlan": 20}
    held = networks.read("vf", {"network": "red"}, "0000:01:10.0", lambda _: {"policy": "kubernetes"})
    assert held.configuration == {"policy": "kubernetes"}
