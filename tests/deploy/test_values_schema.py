"""The chart's schema: what the programs take it takes, what they refuse or would ignore it refuses, with the path.

The programs' own parsers are asked beside it. Typos are made from the schema: of every key of every object in it.
"""

import functools
import importlib
import json
import re
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from hack.pages import __main__ as pages
from sriov.pools import config, resources, selector_config
from sriov_cni.context import policy_rules
from sriov_cni.spec import cni_errors
from tests.deploy import rendering
from tests.deploy.rendering import Object

SCHEMA: Object = json.loads((rendering.CHART / "values.schema.json").read_text())
BEYOND = re.compile(r"two resources have this name|runs backwards")
"""What the device plugin refuses and no schema can."""
NO_NETWORK = re.compile(r"is not a network: ")
"""What the CNI daemon refuses and no schema can."""
IGNORED = re.compile(r"is not a known key|is not a key of")
KINDS = [each.value for each in resources.DeviceType]


def test_it_is_made_of_the_code_as_it_is() -> None:
    old = [name for name, text in pages.of_the_chart().items() if (pages.CHART / name).read_text() != text]
    assert old == [], "hack/gen-docs writes them again"


def takes(name: str, document: object) -> bool:
    return bool(validator(name).is_valid(document))


@functools.cache
def validator(name: str) -> Any:
    jsonschema = importlib.import_module("jsonschema")  # late: it takes two seconds
    return jsonschema.Draft7Validator({"$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]})


def device_plugin_takes(document: object) -> bool | None:
    """And ignores nothing. None for what it refuses, and no schema can."""
    try:
        read = config.parse(json.dumps(document).encode(), "config.json", "intel.com")
    except config.ConfigError as error:
        return None if all(BEYOND.search(line) for line in str(error).splitlines()) else False
    return not any(IGNORED.search(each) for each in read.warnings)


def cni_daemon_takes(document: object) -> bool | None:
    """None for what it refuses, and no schema can."""
    try:
        policy_rules.parse(json.dumps(document).encode(), "policy.json")
    except cni_errors.CniError as error:
        return None if NO_NETWORK.search(error.message) else False
    return True


TEXT = st.text("a0f#-:., ", max_size=4)
SCALAR = st.none() | st.booleans() | st.integers(0, 9) | TEXT
ANYTHING = SCALAR | st.lists(SCALAR, max_size=2) | st.dictionaries(TEXT, SCALAR, max_size=2)
TEXTS = st.lists(TEXT | st.none(), max_size=2)
PFS = st.lists(st.sampled_from(["ens1f0", "ens1f0#0-3", "a#b#1", "#1,3", "a#", "", "a#3-1", None]), max_size=2)
LIKELY: dict[str, st.SearchStrategy[Any]] = {
    "pfNames": PFS,
    "rootDevices": PFS,
    "isRdma": st.booleans(),
    "needVhostNet": st.booleans(),
    "vdpaType": st.sampled_from(["", "vhost", "else"]),
    "auxTypes": st.sampled_from([["sf"], ["sf", "sf"], ["sf", "else"], ["SF"], []]),
    "resourceName": st.sampled_from(["a", "rail_a", "_a", "a-", "a" * 63, "a" * 64, ""]),
    "resourcePrefix": st.sampled_from(
        ["", "a.b", "A.b", "a..b", "x.kubernetes.io", "requests.a", "a" * 244, "a" * 245]
    ),
    "deviceType": st.sampled_from([*KINDS, "", "netdevice"]),
    "allocationPolicy": st.sampled_from(["numa", "packed", "Numa"]),
    "publish": st.sampled_from(["dra", "device-plugin", "DRA"]),
    "additionalInfo": st.dictionaries(st.sampled_from(["*", "01:00.0", "x"]), st.dictionaries(TEXT, TEXT | st.none())),
    "trust": st.booleans(),
    "spoofchkOff": st.booleans(),
    "pfs": st.lists(TEXT, max_size=2),
    "services": st.lists(st.sampled_from(["off", "socket", "Off", ""]), max_size=2),
    "policy": st.lists(st.sampled_from(["off", "kubernetes", "multi", "calico"]), max_size=2),
    "policyUnknown": st.lists(st.sampled_from(["refuse", "deny", "allow", ""]), max_size=2),
    "policyRaw": st.lists(st.booleans(), max_size=2),
    "vlans": st.lists(st.sampled_from(["0", "100-199", "9-1", "12345", "1-", "", "a"]), max_size=2),
    "macPrefixes": st.lists(st.sampled_from(["02", "02:0a", "02:", "0A", "02:00:00:00:00:00:00"]), max_size=2),
}
SELECTOR_KEYS = sorted(set().union(*selector_config.KEYS.values()))
RULE_KEYS = [str(each) for each in policy_rules.Rule.__struct_encode_fields__]


@st.composite
def objects(draw: st.DrawFn, keys: list[str], always: tuple[str, ...] = (), *, any_case: bool = True) -> Object:
    """Some of the keys, in this case or another, and rarely a misspelt one; mostly with likely values."""
    chosen = {*always, *draw(st.lists(st.sampled_from(keys), max_size=3))}
    made: Object = {}
    for key in sorted(chosen):
        likely = LIKELY.get(key, TEXTS if key in SELECTOR_KEYS else st.booleans())
        spelt = draw(st.sampled_from([key, key, key.upper(), key.lower()])) if any_case else key
        spelt = draw(st.sampled_from([*[spelt] * 30, spelt[:-1]]))
        made[spelt] = draw(st.one_of(*[likely] * 9, ANYTHING))
    return made


SELECTOR = objects(SELECTOR_KEYS)
LIKELY["selectors"] = SELECTOR | st.lists(SELECTOR | st.none(), max_size=2)
RESOURCES = st.lists(objects(list(config.RESOURCE_KEYS), ("resourceName", "deviceType", "selectors")), max_size=2)
RULES = st.lists(objects(RULE_KEYS, any_case=False), max_size=2)


@hypothesis.settings(max_examples=400, deadline=None)
@hypothesis.given(
    st.sampled_from(["resourceList", "resourcelist"]), RESOURCES | ANYTHING.filter(lambda it: it is not None)
)
def test_a_configuration_is_taken_if_the_device_plugin_takes_it_and_ignores_nothing(key: str, listed: object) -> None:
    document = {key: listed}
    taken = device_plugin_takes(document)
    hypothesis.assume(taken is not None)
    assert takes("config", document) == taken


@hypothesis.settings(max_examples=400, deadline=None)
@hypothesis.given(RULES | ANYTHING)
def test_a_policy_is_taken_if_the_cni_daemon_takes_it(rules: object) -> None:
    document = {"rules": rules}
    taken = cni_daemon_takes(document)
    hypothesis.assume(taken is not None)
    assert takes("policy", document) == taken


def resource(**keys: object) -> Object:
    return {"resourceList": [{"resourceName": "a", **keys}]}


CONFIGURATIONS: list[Object] = [
    resource(),
    resource(selectors=None, resourcePrefix=None),
    resource(selectors={"PFNAMES": ["ens1f0#0-3,5"], "isRdma": True}),
    resource(selectors=[{"vendors": ["8086", None]}, None, {}]),
    resource(deviceType="auxNetDevice", selectors={"auxTypes": ["sf"], "pfNames": ["a"]}),
    resource(deviceType="accelerator", additionalInfo={"*": {"a": None}}),
    {"RESOURCELIST": [{"resourcename": "a"}]},
    {"resourceList": []},
    resource(selectors={"vendor": ["8086"]}),
    resource(selectors={"vendors": [8086]}),
    resource(selectors={"pfNames": ["ens1f0#x"]}),
    resource(selectors={"isRdma": True, "VDPATYPE": "vhost"}),
    resource(selectors={"auxTypes": ["sf"]}),
    resource(deviceType="accelerator", selectors={"pfNames": ["a"]}),
    resource(DEVICETYPE="auxNetDevice"),
    resource(deviceType="auxNetDevice", selectors=[{"auxTypes": ["sf"]}, None]),
    resource(excludeTopology="true"),
    resource(resourcePrefix="x.kubernetes.io"),
    resource(checkHealthOnPF=True, checkHealthOnDrivers=True),
    {"resourceList": [None]},
    {"resourceList": {}},
]  # fmt: skip
POLICIES: list[Object] = [
    {"rules": []},
    {"rules": [{"pfs": ["ens1f0"], "vlans": ["100-199"], "trust": False, "spoofchkOff": False, "macPrefixes": ["02"]}]},
    {"rules": [{"vlans": None, "pfs": None}]},
    {"rules": [{"vlan": ["100"]}]},
    {"rules": [{"Vlans": ["100"]}]},
    {"rules": [{"vlans": [100]}]},
    {"rules": [{"trust": None}]},
    {"rules": [{"macPrefixes": ["02:0A"]}]},
    {"rules": None},
    {"rules": [], "rule": []},
    {"defaults": {"services": "socket"}},
    {"defaults": {"services": "socket"}, "rules": [{"services": ["socket"]}]},
    {"defaults": {"services": ""}},
    {"defaults": {"services": None}},
    {"defaults": {"service": "off"}},
    {"defaults": None},
    {"rules": [{"services": "socket"}]},
]


def test_helm_says_what_the_programs_say() -> None:
    said = rendering.judged([*({"config": each} for each in CONFIGURATIONS), *({"policy": each} for each in POLICIES)])
    taken = [*map(device_plugin_takes, CONFIGURATIONS), *map(cni_daemon_takes, POLICIES)]
    assert [not each for each in said] == taken
    assert {True, False} == set(taken)


@pytest.mark.parametrize("values", [{"config": {"resourceList": None}}, {"config": {"resourceLists": []}}])
def test_a_configuration_without_resources_says_so(values: Object) -> None:
    """The device plugin would take it, and offer nothing."""
    [said] = rendering.judged([{"config": {"resourceList": [], **values["config"]}}])
    assert "'/config'" in said


Place = tuple[str | int, ...]


def places(schema: Object, at: Place = (), above: tuple[str, ...] = ()) -> Iterator[tuple[Place, str]]:
    """Every key of every object that the schema closes, with the object's place; lists have one item."""
    if "$ref" in schema:
        name = schema["$ref"]
        if name not in above:
            yield from places(_referred(name), at, (*above, name))
        return
    for part in (*schema.get("allOf", []), *(schema[word] for word in ("then", "else") if word in schema)):
        yield from places(part, at, above)
    if isinstance(schema.get("items"), dict):
        yield from places(schema["items"], (*at, 0), above)
    if isinstance(schema.get("additionalProperties"), dict):
        yield from places(schema["additionalProperties"], (*at, "x"), above)
    for key, inner in _properties(schema):
        if schema.get("additionalProperties") is False:
            yield at, key
        yield from places(inner, (*at, key), above)


def _referred(name: str) -> Object:
    found: Any = SCHEMA
    for step in name.split("/")[1:]:
        found = found[step]
    return dict(found)


def _properties(schema: Object) -> list[tuple[str, Object]]:
    named = {
        re.sub(r"^\^\(\?i:(\w+)\)\$$", r"\1", key): value for key, value in schema.get("patternProperties", {}).items()
    }
    return [*schema.get("properties", {}).items(), *named.items()]


def test_a_typo_in_any_object_is_refused_with_its_place() -> None:
    found = sorted(set(places(SCHEMA)), key=str)
    typos = []
    for at, key in found:
        known = {other for place, other in found if place == at}
        wrong = next(each for each in (key[:-1], f"{key}x") if each and each not in known)
        typos += [(at, wrong, _document(at, wrong, kind)) for kind in (KINDS if "config" in at else [""])]
    said = rendering.judged([document for _, _, document in typos])
    missed = [
        (at, wrong)
        for (at, wrong, _), told in zip(typos, said, strict=True)
        if not re.search(rf"at '{'/'.join(['', *map(str, at)])}': additional properties .*'{wrong}'", told)
    ]
    assert missed == []
    assert len(typos) > 250
    assert {"vlans", "pfNames", "values", "memory", "digest"} <= {key for _, key in found}


def _document(at: Place, wrong: str, kind: str) -> Object:
    """Values with the misspelt key alone at that place; resources on the way are of that kind."""
    made: Any = {wrong: None}
    for number, step in reversed(list(enumerate(at))):
        if step == 0 and at[number - 1] == "resourceList":
            made = {"resourceName": "a", "deviceType": kind, **made}
        made = [made] if step == 0 else {step: made}
    return dict(made)


@pytest.mark.parametrize(
    "values", [{"policy": {"rules": [{"vlan": ["1"]}]}}, {"config": resource(selectors={"vendor": []})}]
)
def test_lint_and_template_both_refuse_it(values: Object) -> None:
    told = "additional properties '(vlan|vendor)' not allowed"
    assert [each for each in rendering.linted(values) if re.search(told, each["error"]) and each["severity"] == 3]
    with pytest.raises(rendering.RefusedError, match=told):
        rendering.chart(values)
