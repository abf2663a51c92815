"""JSON Schemas of the chart's `config` and `policy`, from the structures that read these files; the end of its schema.

The chart takes what the programs take, with one exception: a key that a program would ignore with a warning is refused.
Keys of config.json are read in any case, as Go does, so they are patterns here. Draft 7, which Helm reads.
"""

import enum
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import inspect

from hack.pages import key_descriptions, kubernetes_types
from sriov.kubelet import names
from sriov.pools import config, resources, selector_config, selectors
from sriov_cni.context import policy_rules

Schema = dict[str, Any]

_MARK = '  "$defs": '
_LIST = re.compile(r"\[\n[^\[\]{}]*\n *\]")  # of values alone
_NOTE = "Made by hack/gen-docs of the programs' code and Kubernetes' schemas; all above is written by hand."
_NET, _ACCELERATOR, _AUXILIARY = resources.DeviceType
_KINDS: dict[type[inspect.Type], str] = {
    inspect.StrType: "string",
    inspect.BoolType: "boolean",
    inspect.NoneType: "null",
}


def completed(text: str) -> str:
    """Return values.schema.json with its generated end made again."""
    by_hand = text.partition(_MARK)[0]
    made = {"$comment": _NOTE, **definitions(), **kubernetes_types.named_in(by_hand)}
    written = _LIST.sub(_on_one_line, json.dumps(made, indent=2)).replace("\n", "\n  ")
    return f"{by_hand}{_MARK}{written}\n}}\n"


def _on_one_line(found: re.Match[str]) -> str:
    return json.dumps(json.loads(found[0]))


def definitions() -> Schema:
    return {
        "config": _object({"resourceList": {"type": "array", "items": _ref("resource")}}, required="resourceList"),
        "resource": _resource(),
        **{_selector_name(kind): _selector(kind) for kind in resources.DeviceType},
        "policy": _policy(),
    }


def _resource() -> Schema:
    prefix = {"type": ["string", "null"], "maxLength": names.PREFIX_MAX, "pattern": f"^({names._PREFIX.pattern})?$"}
    keys = {key: _nullable(one) for key, one in _fields(config._RawResource)} | {
        "resourceName": {"type": "string", "pattern": _whole(names._NAME)},
        "resourcePrefix": {**prefix, "not": {"type": "string", "pattern": r"(kubernetes\.io$|^requests\.)"}},
        "deviceType": _one_of(resources.DeviceType),
        "allocationPolicy": _one_of(resources.AllocationPolicy),
        "publish": _one_of(resources.Publication),
        "selectors": {"type": ["object", "array", "null"]},
    }
    others = {"if": _has("deviceType", _AUXILIARY.value), "then": _taking(_AUXILIARY), "else": _taking(_NET)}
    by_kind = {"if": _has("deviceType", _ACCELERATOR.value), "then": _taking(_ACCELERATOR), "else": others}
    return {**_object(keys, required="resourceName"), "allOf": [by_kind]}


def _taking(kind: resources.DeviceType) -> Schema:
    """Make the rest of a resource of that kind: one selector, or a list of them."""
    needed = kind is _AUXILIARY
    none = [] if needed else ["null"]
    one: Schema = {"allOf": [_ref(_selector_name(kind))]}
    some = {"type": ["object", "array", *none], "items": {"type": ["object", *none], **one}, **one}
    found: Schema = {"patternProperties": {_any_case("selectors"): some}}
    return {**found, **_required("selectors")} if needed else found


def _selector(kind: resources.DeviceType) -> Schema:
    functions = f"^([^#]+|[^#]*#{selectors._RANGES.pattern})$"
    one_pf = {"type": ["array", "null"], "items": {"type": "string", "pattern": functions}}
    special: dict[str, Schema] = {
        "pfNames": one_pf,
        "rootDevices": one_pf,
        "auxTypes": {"type": "array", "minItems": 1, "items": {"const": "sf"}},
    }
    known = [(key, special.get(key) or _nullable(one)) for key, one in _fields(selector_config._Raw)]
    keys = {key: _told(key_descriptions.SELECTORS, key, value) for key, value in known if _belongs(key, kind)}
    made = _keys(keys, required="auxTypes" if kind is _AUXILIARY else None)
    if kind is not _NET:
        return made
    no_vdpa = {"patternProperties": {_any_case("vdpaType"): {"enum": ["", None]}}}
    return {**made, "allOf": [{"if": _has("isRdma", True), "then": no_vdpa}]}


def _belongs(key: str, kind: resources.DeviceType) -> bool:
    return key in selector_config.KEYS[kind]


def _policy() -> Schema:
    items = {
        "vlans": {"type": "string", "pattern": _whole(policy_rules.SPAN)},
        "macPrefixes": {"type": "string", "pattern": _whole(policy_rules.PREFIX)},
    }
    rule = {key: _told(key_descriptions.POLICY, key, _type(one)) for key, one in _fields(policy_rules.Rule)}
    for key, item in items.items():
        rule[key]["items"] = item
    defaults = {
        key: _told(key_descriptions.DEFAULTS, key, _type(one)) for key, one in _fields(policy_rules.NetworkDefaults)
    }
    return _closed({"rules": {"type": "array", "items": _closed(rule)}, "defaults": _closed(defaults)})


def _closed(properties: Schema) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _object(keys: Mapping[str, Schema], required: str) -> Schema:
    return {"type": "object", **_keys(keys, required)}


def _keys(keys: Mapping[str, Schema], required: str | None) -> Schema:
    """Make an object of config.json, which may be something else where the caller allows that."""
    known = {_any_case(key): value for key, value in keys.items()}
    return {
        "additionalProperties": False,
        "patternProperties": known,
        **(_required(required) if required else {}),
    }


def _required(key: str) -> Schema:
    return {"if": {"propertyNames": {"not": {"pattern": _any_case(key)}}}, "then": {"required": [key]}}


def _has(key: str, value: object) -> Schema:
    """Make what holds for an object that has this value there."""
    return {"not": {"patternProperties": {_any_case(key): {"not": {"const": value}}}}}


def _any_case(key: str) -> str:
    return f"^(?i:{key})$"


def _fields(kind: type[msgspec.Struct]) -> Iterable[tuple[str, inspect.Type]]:
    found = inspect.type_info(kind)
    assert isinstance(found, inspect.StructType)
    return [(field.encode_name, field.type) for field in found.fields]


def _type(kind: inspect.Type) -> Schema:
    if isinstance(kind, inspect.UnionType):
        made = [_type(one) for one in kind.types]
        return {**made[0], **made[1], "type": [one["type"] for one in made]}
    if isinstance(kind, inspect.ListType | inspect.VarTupleType):
        return {"type": "array", "items": _type(kind.item_type)}
    if isinstance(kind, inspect.DictType):
        return {"type": "object", "additionalProperties": _type(kind.value_type)}
    if isinstance(kind, inspect.EnumType):
        return {"type": "string", "enum": [one.value for one in kind.cls]}
    return {} if isinstance(kind, inspect.CustomType) else {"type": _KINDS[type(kind)]}


def _nullable(kind: inspect.Type) -> Schema:
    """Make the schema of a value of config.json, where null is the zero value."""
    made = _type(kind)
    types = made.get("type", [])
    return {**made, "type": list(dict.fromkeys([*([types] if isinstance(types, str) else types), "null"]))}


def _one_of(values: type[enum.Enum]) -> Schema:
    return {"enum": [*(one.value for one in values), "", None]}


def _told(meanings: Mapping[str, str], key: str, schema: Schema) -> Schema:
    return {"description": meanings[key], **schema}


def _whole(pattern: re.Pattern[str]) -> str:
    return f"^({pattern.pattern})$"


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _selector_name(kind: resources.DeviceType) -> str:
    return f"{kind.value}Selector"
