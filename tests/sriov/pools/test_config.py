"""config.json: what is taken from it, what is ignored, and what its author is told."""

import json
import pathlib

import hypothesis
import pytest
from hypothesis import strategies

from sriov.pools import config, resources, selectors


def parse(*entries: object) -> resources.Configuration:
    return config.parse(json.dumps({"resourceList": entries}).encode(), "config.json", "intel.com")


def only(resource: dict[str, object]) -> resources.Resource:
    (read,) = parse(resource).resources
    return read


def selector(**keys: object) -> selectors.Selector:
    alternatives = only({"resourceName": "a", "selectors": keys}).alternatives
    assert alternatives is not None
    return alternatives[0]


def refused(text: bytes) -> str:
    with pytest.raises(config.ConfigError) as caught:
        config.parse(text, "config.json", "intel.com")
    return str(caught.value)


def test_a_whole_file() -> None:
    read = parse(
        {
            "resourceName": "net",
            "resourcePrefix": "example.com",
            "deviceType": "netDevice",
            "excludeTopology": True,
            "selectors": {
                "vendors": ["8086"],
                "devices": ["154c", "10ed"],
                "drivers": ["iavf"],
                "pciAddresses": ["0000:02:00.1"],
                "pfNames": ["enp1s0#0-3,5"],
                "rootDevices": ["0000:01:00.0"],
            },
        },
        {"resourceName": "rest"},
    )
    chosen = selectors.Selector(
        vendors=frozenset({"8086"}),
        devices=frozenset({"154c", "10ed"}),
        drivers=frozenset({"iavf"}),
        pci_addresses=frozenset({"0000:02:00.1"}),
        pf_names=(selectors.Functions("enp1s0", ((0, 3), (5, 5))),),
        root_devices=(selectors.Functions("0000:01:00.0"),),
    )
    first = resources.Resource("example.com", "net", (chosen,), exclude_topology=True)
    assert read == resources.Configuration((first, resources.Resource("intel.com", "rest")))


def test_selectors_may_be_an_object_or_a_list() -> None:
    either = [{"vendors": ["8086"]}, {"vendors": ["15b3"]}]
    read = only({"resourceName": "a", "selectors": either}).alternatives
    assert read == tuple(selectors.Selector(vendors=frozenset(one["vendors"])) for one in either)
    assert only({"resourceName": "a", "selectors": either[0]}).alternatives == read[:1]


@pytest.mark.parametrize("selectors_text", ["", ', "selectors": null'])
def test_without_selectors_a_resource_takes_every_vf(selectors_text: str) -> None:
    """The incumbent dies of it."""
    text = f'{{"resourceList": [{{"resourceName": "a"{selectors_text}}}]}}'
    assert config.parse(text.encode(), "", "intel.com").resources[0].alternatives is None


def test_an_empty_list_of_selectors_takes_no_vf_and_says_so() -> None:
    read = parse({"resourceName": "a", "selectors": []})
    assert read.resources[0].alternatives == ()
    assert "resourceList[0].selectors is an empty list" in read.warnings[0]


def test_keys_match_in_any_case() -> None:
    text = b'{"RESOURCELIST": [{"resourcename": "a", "Selectors": {"pciaddresses": ["0000:01:10.0"]}}]}'
    assert config.parse(text, "", "intel.com") == parse(
        {"resourceName": "a", "selectors": {"pciAddresses": ["0000:01:10.0"]}}
    )


def test_the_last_of_two_equal_keys_wins() -> None:
    text = b'{"resourceList": [{"resourceName": "a", "resourceName": "b", "RESOURCENAME": "c"}]}'
    assert config.parse(text, "", "intel.com").resources[0].name == "c"


def test_null_is_the_zero_value() -> None:
    text = {"resourceName": "a", "resourcePrefix": None, "deviceType": None, "excludeTopology": None}
    assert only(text | {"selectors": {"vendors": None, "drivers": []}}) == resources.Resource(
        "intel.com", "a", (selectors.Selector(),)
    )
    assert config.parse(b'{"resourceList": null}', "", "intel.com").resources == ()


def test_unknown_keys_are_ignored_and_named() -> None:
    text = b'{"x": 1, "resourceList": [{"resourceName": "a", "sriovMode": true, "selectors": [{"IsRdmaa": [{}]}]}]}'
    read = config.parse(text, "config.json", "intel.com")
    assert read.resources == (resources.Resource("intel.com", "a", (selectors.Selector(),)),)
    assert read.warnings == (
        "config.json: x is not a known key, it is ignored",
        "config.json: resourceList[0].sriovMode is not a known key, it is ignored",
        "config.json: resourceList[0].selectors[0].IsRdmaa is not a known key, it is ignored",
    )


def test_every_key_of_a_netdevice_selector() -> None:
    read = selector(
        acpiIndexes=["101"],
        linkTypes=["infiniband"],
        pKeys=["0x1", "0xABCD", "8001"],
        IsRdma=True,
        NeedVhostNet=True,
    )
    assert read == selectors.Selector(
        acpi_indexes=frozenset({"101"}),
        link_types=frozenset({"infiniband"}),
        pkeys=frozenset({0x1, 0xABCD, 0x8001}),
        is_rdma=True,
        need_vhost_net=True,
    )
    assert selector(vdpaType="virtio").vdpa_type == "virtio"


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        ("netDevice", "auxTypes", ["sf"]),
        ("accelerator", "pfNames", 7),
        ("accelerator", "isRdma", True),
        ("auxNetDevice", "pciAddresses", ["0000:01:10.0"]),
        ("auxNetDevice", "vdpaType", "vhost"),
    ],
)
def test_keys_of_another_kind_of_resource_are_ignored_and_named(kind: str, key: str, value: object) -> None:
    """Whatever their value: the incumbent does not look at it either."""
    given = {key: value, "auxTypes": ["sf"]}
    read = parse({"resourceName": "a", "deviceType": kind, "selectors": given})
    expected = frozenset({"sf"}) if kind == "auxNetDevice" else frozenset()
    assert read.resources[0].alternatives == (selectors.Selector(aux_types=expected),)
    assert any(f"selectors.{key} is not a key of {kind} resources, it is ignored" in text for text in read.warnings)


def test_rdma_and_vdpa_exclude_one_another() -> None:
    text = json.dumps({"resourceList": [{"resourceName": "a", "selectors": {"isRdma": True, "vdpaType": "vhost"}}]})
    assert 'selectors.vdpaType is "vhost": it excludes isRdma; keep one of the two' in refused(text.encode())


@pytest.mark.parametrize("given", [None, {}, {"auxTypes": []}, {"auxTypes": ["eth"]}, [{"auxTypes": ["sf", "rdma"]}]])
def test_an_auxiliary_resource_needs_its_type(given: object) -> None:
    entry = {"resourceName": "a", "deviceType": "auxNetDevice", "selectors": given}
    assert 'write "auxTypes": ["sf"]' in refused(json.dumps({"resourceList": [entry]}).encode())


@pytest.mark.parametrize(
    ("keys", "warning"),
    [
        ({"vdpaType": "vhostt"}, 'vdpaType is "vhostt", not vhost or virtio: it matches nothing'),
        ({"linkTypes": ["ethernet"]}, 'linkTypes[0] is "ethernet", which no device has'),
        ({"pKeys": ["0x10000"]}, 'pKeys[0] is "0x10000", which no device has'),
        ({"acpiIndexes": ["-1"]}, 'acpiIndexes[0] is "-1", which no device has'),
    ],
)
def test_a_constraint_that_nothing_meets_is_told(keys: dict[str, object], warning: str) -> None:
    assert warning in parse({"resourceName": "a", "selectors": keys}).warnings[0]


def test_additional_info_is_by_address_in_full() -> None:
    read = parse(
        {
            "resourceName": "a",
            "additionalInfo": {
                "*": {"token": "1"},
                "01:10.0": {"token": None},
                "0000:0A:10.0": None,
                "eth0": {"k": "v"},
            },
        }
    )
    assert read.resources[0].additional_info == {
        "*": {"token": "1"},
        "0000:01:10.0": {"token": ""},
        "0000:0a:10.0": {},
        "eth0": {"k": "v"},
    }
    assert read.warnings == (
        "config.json: resourceList[0].additionalInfo.eth0 is neither * nor a PCI address: it matches nothing",
    )


def test_our_own_keys() -> None:
    plain = only({"resourceName": "a"})
    assert (plain.policy, plain.checks, plain.host_addresses) == (
        resources.AllocationPolicy.SPREAD,
        resources.Checks(pf=False, driver=True, cleanup=True),
        False,
    )
    given: dict[str, object] = {"checkHealthOnPf": True, "checkHealthOnDriver": False, "checkHealthOnCleanup": False}
    given |= {"checkHealthOnDeviceExist": True, "offerHostAddresses": True}
    read = only({"resourceName": "a", "allocationPolicy": "packed"} | given)
    assert (read.policy, read.checks, read.host_addresses) == (
        resources.AllocationPolicy.PACKED,
        resources.Checks(pf=True, driver=False, cleanup=False),
        True,
    )


def test_a_resource_is_published_by_the_device_plugin_unless_it_says_dra() -> None:
    read = parse({"resourceName": "a"}, {"resourceName": "b", "publish": "dra"})
    assert [each.name for each in read.published(resources.Publication.DEVICE_PLUGIN)] == ["a"]
    assert [each.name for each in read.published(resources.Publication.DRA)] == ["b"]


def test_two_resources_that_would_have_one_pool_of_slices_are_refused() -> None:
    """The device plugin has names of their own for them, so it takes both."""
    both = [{"resourceName": name, "publish": "dra"} for name in ("Igb_vf", "igb-vf")]
    assert '"intel.com/igb-vf": intel.com/Igb_vf has the same DRA pool, intel.com/igb-vf; give one' in refused(
        json.dumps({"resourceList": both}).encode()
    )
    assert len(parse(both[0], {"resourceName": "igb-vf"}).resources) == 2


@pytest.mark.parametrize("kind", list(resources.DeviceType))
def test_every_kind_of_resource(kind: resources.DeviceType) -> None:
    assert only({"resourceName": "a", "deviceType": kind.value, "selectors": {"auxTypes": ["sf"]}}).kind is kind


def test_ids_and_addresses_are_brought_into_the_kernels_form() -> None:
    read = selector(vendors=["15B3", "0x8086"], pciAddresses=["01:10.1"], rootDevices=["0000:0A:00.0#1"])
    assert read.vendors == {"15b3", "8086"}
    assert read.pci_addresses == {"0000:01:10.1"}
    assert read.root_devices == (selectors.Functions("0000:0a:00.0", ((1, 1),)),)


@pytest.mark.parametrize(
    ("key", "value"),
    [("vendors", "Intel"), ("devices", None), ("pciAddresses", "eth0"), ("rootDevices", "eth0")],
)
def test_a_value_that_no_device_has_still_constrains_and_is_told(key: str, value: object) -> None:
    read = parse({"resourceName": "a", "selectors": {key: [value]}})
    assert read.resources[0].alternatives != (selectors.Selector(),)
    assert read.warnings[0].startswith(f"config.json: resourceList[0].selectors.{key}[0] is {json.dumps(value)}")


@pytest.mark.parametrize(
    ("resource", "message"),
    [
        (
            {"resourceName": "a", "selectors": {"pfNames": ["p0", "p0#3-1"]}},
            'resourceList[0].selectors.pfNames[1] is "p0#3-1": the range 3-1 runs backwards; write <PF> or',
        ),
        (
            {"resourceName": "a", "selectors": [{}, {"rootDevices": ["0000:01:00.0#x"]}]},
            "resourceList[0].selectors[1].rootDevices[0] is \"0000:01:00.0#x\": 'x' is not a list of VF indices",
        ),
        ({"resourceName": "a", "selectors": {"vendors": "8086"}}, 'selectors.vendors is "8086": expected `array`'),
        ({"resourceName": "a", "selectors": {"vendors": [8086]}}, "selectors.vendors[0] is 8086: expected `str`"),
        ({"resourceName": "a", "selectors": "all"}, 'selectors is "all": it must be an object'),
        ({"resourceName": "a", "excludeTopology": "true"}, 'excludeTopology is "true": expected `bool`'),
        (
            {"resourceName": "a", "deviceType": "netdevice"},
            'deviceType is "netdevice": there is no such value; write netDevice, accel',
        ),
        (
            {"resourceName": "a", "allocationPolicy": "best"},
            'allocationPolicy is "best": there is no such value; write packed, spread, numa, pcie',
        ),
        (
            {"resourceName": "a", "publish": "DRA"},
            'publish is "DRA": there is no such value; write device-plugin, dra, exactly as written here',
        ),
        ({"resourceName": "a", "additionalInfo": {"*": {"k": 7}}}, "additionalInfo"),
        ({"resourceName": 7}, "resourceList[0].resourceName is 7: expected `str`, got `int`"),
        (
            {"resourceName": "x_"},
            'resourceList[0].resourceName is "x_": the kubelet does not accept this name; use 1 to 63',
        ),
        ({}, 'resourceList[0].resourceName is "": the kubelet does not accept this name'),
        ("a", 'resourceList[0] is "a": it must be an object'),
        (
            {"resourceName": "a", "resourcePrefix": "sriov.kubernetes.io"},
            'resourcePrefix is "sriov.kubernetes.io": the kubelet does not accept this prefix; use a domain of yours',
        ),
    ],
)
def test_what_cannot_be_right_is_refused(resource: object, message: str) -> None:
    text = refused(json.dumps({"resourceList": [resource]}).encode())
    assert text.startswith("config.json: resourceList[0]")
    assert message in text


def test_all_problems_are_told_at_once() -> None:
    entries = [
        {"resourceName": "-"},
        {"resourceName": "ok"},
        {"resourceName": "b", "selectors": {"pfNames": ["#", "p#"]}},
    ]
    lines = refused(json.dumps({"resourceList": entries}).encode()).splitlines()
    assert [line.split()[1] for line in lines] == [
        "resourceList[0].resourceName",
        "resourceList[2].selectors.pfNames[0]",
        "resourceList[2].selectors.pfNames[1]",
    ]


def test_two_resources_of_one_name() -> None:
    twice = [{"resourceName": "a"}, {"resourceName": "a", "resourcePrefix": "intel.com"}]
    assert '"intel.com/a": two resources have this name' in refused(json.dumps({"resourceList": twice}).encode())
    assert len(parse({"resourceName": "a"}, {"resourceName": "a", "resourcePrefix": "b.com"}).resources) == 2


@pytest.mark.parametrize(("first", "second"), [("net", "NET"), ("net", "net_info")])
def test_d37_resources_that_meet_in_the_environment_are_told(first: str, second: str) -> None:
    warning = parse({"resourceName": first}, {"resourceName": second}).warnings[0]
    assert f"intel.com/{first} and intel.com/{second} both set PCIDEVICE_INTEL_COM_NET" in warning


@pytest.mark.parametrize("text", [b"", b"{", b'{"resourceList": [],}', b"\xff", b"{} {}", b"[" * 100_000])
def test_what_is_not_json(text: bytes) -> None:
    assert refused(text).startswith("config.json is not JSON: ")


@pytest.mark.parametrize("text", [b"[]", b"7", b'"x"'])
def test_json_that_is_no_configuration(text: bytes) -> None:
    assert f"the document is {text.decode()}: it must be an object" in refused(text)


def test_nothing_to_advertise_is_told() -> None:
    for text in (b"{}", b"null", b'{"resourceList": []}'):
        assert "nothing is advertised" in config.parse(text, "config.json", "intel.com").warnings[-1]


def test_a_file_that_is_not_there(tmp_path: pathlib.Path) -> None:
    with pytest.raises(config.ConfigError, match=r"missing.json cannot be read: No such file"):
        config.load(tmp_path / "missing.json", "intel.com")


def test_a_file_is_named_in_what_is_said_about_it(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"resourceList": [{"resourceName": "a", "x": 1}]}')
    assert config.load(path, "intel.com").warnings == (f"{path}: resourceList[0].x is not a known key, it is ignored",)


JSON = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers(-9, 9) | strategies.sampled_from(["a", "p#1", ""]),
    lambda inner: (
        strategies.lists(inner, max_size=3)
        | strategies.dictionaries(
            strategies.sampled_from(["resourceName", "SELECTORS", "vendors", "pfNames", "isRdma", "deviceType", "x"]),
            inner,
        )
    ),
    max_leaves=12,
)


@hypothesis.given(JSON)
def test_any_json_is_read_or_refused(value: object) -> None:
    """Whatever it is, the answer is a configuration or a text that names a place in it."""
    text = json.dumps({"resourceList": [{"resourceName": "n", "selectors": value}, value]}).encode()
    try:
        read = config.parse(text, "config.json", "intel.com")
    except config.ConfigError as error:
        assert all(line.startswith("config.json: resourceList") for line in str(error).splitlines())
    else:
        assert read.resources[0].name == "n"
