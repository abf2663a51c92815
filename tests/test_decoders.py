"""Threads that decode at once: every type is made known to msgspec at an import, before there are threads.

msgspec builds what it knows of a type at its first use, without a lock (msgspec 0.22.0, src/msgspec/_core.c,
StructInfo_Convert): of two threads that do so at once, one finds a type half built and the process dies of SIGSEGV.
Making a Decoder builds it all, down to the fields of fields. Encoding builds nothing.
"""

import ast
import functools
import importlib
import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from sriov.pools import config, selector_config
from sriov_cni.spec import result

ROOT = pathlib.Path(__file__).parents[1]
PROGRAMS = ("sriov", "deviceplugin", "sriov_cni", "sriovctl", "sriov_installer")
PROCESSES = 3

BUILT = (inspect.StructType, inspect.DataclassType, inspect.NamedTupleType, inspect.TypedDictType, inspect.EnumType)
"""Kinds of types of which msgspec keeps what it has built."""

ELSEWHERE = {
    ("sriov/pools/go_json.py", "convert"): "the fields of config.json are of JSON's own types, as a test below shows",
    ("sriov/provisioning/document.py", "convert"): "sriovctl reads it before it has a thread",
    ("sriov_cni/spec/result.py", "convert"): "Result is built by the Decoder beside it, as a test below shows",
}
"""Where a type is decoded without a Decoder, and why that is sound."""

RACE = """
import importlib, json, sys, threading
decoders = [vars(importlib.import_module(module))[name] for module, name in json.loads(sys.argv[1])]
documents = [each.encode() for each in json.loads(sys.argv[2])]
sys.setswitchinterval(1e-6)
together = threading.Barrier(8)
failures = []

def decode():
    together.wait()
    try:
        for decoder, document in zip(decoders, documents):
            decoder.decode(document)
    except BaseException as error:
        failures.append(error)

threads = [threading.Thread(target=decode) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
sys.exit(repr(failures) if failures else 0)
"""

READING = """
import pathlib, sys, threading
from sriov.state import ledger
book = ledger.Ledger(pathlib.Path(sys.argv[1]))
sys.setswitchinterval(1e-6)
together = threading.Barrier(8)

def read():
    together.wait()
    list(book.records())
    book.identities.last("0000:01:10.0")

threads = [threading.Thread(target=read) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""

CONVERTING = """
import sys, threading
from sriov_cni.spec import result
sys.setswitchinterval(1e-6)
together = threading.Barrier(8)

def read():
    together.wait()
    assert result.previous(sys.argv[1].encode()).result.interfaces

threads = [threading.Thread(target=read) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""

RECORD = {
    "version": 1,
    "pci": "0000:01:10.0",
    "owner": {"container_id": "c1", "ifname": "net1", "network": "n1", "netns": "/run/netns/pod"},
    "netns": [4, 4026532000],
    "home": {"name": "enp1s0v0", "address": "02:00:00:00:00:01", "mtu": 1500},
    "wanted": {"mac": "00:00:00:00:00:00", "vlan": 7, "link_state": "auto"},
    "mtu": 1500,
    "mark": {"nsid": 3, "random": 5},
}


def modules() -> Iterator[tuple[pathlib.Path, ast.Module]]:
    for package in PROGRAMS:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path, ast.parse(path.read_text())


def called(node: ast.AST) -> str:
    """`json.decode` of a call of msgspec.json.decode; nothing of any other node."""
    text = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
    return text.removeprefix("msgspec.") if text.startswith("msgspec.") else ""


def untimely(tree: ast.Module) -> Iterator[str]:
    """Uses of msgspec that build a type when a function is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("msgspec"):
            yield "from"
        typed = isinstance(node, ast.Call) and (len(node.args) > 1 or any(each.arg == "type" for each in node.keywords))
        if called(node) == "convert" or (called(node).endswith(".decode") and typed):
            yield called(node)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from (called(inner) for inner in ast.walk(node) if called(inner).endswith(".Decoder"))


def test_every_type_is_decoded_by_a_decoder_made_at_import() -> None:
    found = {(str(path.relative_to(ROOT)), use) for path, tree in modules() for use in untimely(tree)}
    assert found == set(ELSEWHERE), "write _THING = msgspec.json.Decoder(Thing) beside the type, and decode with that"


@pytest.mark.parametrize(
    "text",
    [
        "def read(data): return msgspec.json.decode(data, type=Record)",
        "def read(data): return msgspec.json.decode(data, Record)",
        "def read(data): return msgspec.msgpack.decode(data, type=Record)",
        "def read(data): return msgspec.convert(data, Record)",
        "def read(data): return msgspec.json.Decoder(Record).decode(data)",
        "from msgspec import json",
    ],
)
def test_a_type_that_is_built_late_is_seen(text: str) -> None:
    assert list(untimely(ast.parse(text)))


def test_the_device_plugins_file_has_no_types_of_ours() -> None:
    for kind in (config._RawFile, config._RawResource, selector_config._Raw):
        assert not any(_ours(field.type) for field in inspect.type_info(kind).fields)  # type: ignore[attr-defined]


def _ours(kind: inspect.Type) -> bool:
    nested = [getattr(kind, key) for key in ("item_type", "key_type", "value_type") if hasattr(kind, key)]
    return isinstance(kind, BUILT) or any(_ours(each) for each in [*nested, *getattr(kind, "types", ())])


@functools.cache
def decoders() -> dict[tuple[str, str], msgspec.json.Decoder[Any]]:
    """By module and name."""
    found = {}
    for path, tree in modules():
        if any(called(node).endswith("Decoder") for node in ast.walk(tree)):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for name, value in vars(importlib.import_module(module)).items():
                if isinstance(value, msgspec.json.Decoder):
                    found[module, name] = value
    return found


def document(kind: Any) -> Any:
    """One that has every field of the type."""
    match kind:
        case inspect.StructType() | inspect.DataclassType() | inspect.NamedTupleType():
            found: Any = {field.encode_name: document(field.type) for field in kind.fields}
            found |= {kind.tag_field: kind.tag} if isinstance(kind, inspect.StructType) and kind.tag_field else {}
        case inspect.UnionType():
            found = document(next(each for each in kind.types if not isinstance(each, inspect.NoneType)))
        case inspect.TupleType():
            found = [document(each) for each in kind.item_types]
        case inspect.ListType() | inspect.VarTupleType():
            found = [document(kind.item_type)]
        case inspect.DictType():
            found = {"key": document(kind.value_type)}
        case inspect.LiteralType():
            found = kind.values[0]
        case inspect.EnumType():
            found = next(iter(kind.cls)).value
        case _:
            found = "text" if isinstance(kind, inspect.StrType | inspect.BytesType) else 1
    return True if isinstance(kind, inspect.BoolType) else found


def test_threads_that_decode_a_type_first_all_live() -> None:
    """All types of all programs, in fresh processes."""
    assert len(decoders()) > 10
    names = json.dumps([*decoders()])
    documents = json.dumps([json.dumps(document(inspect.type_info(each.type))) for each in decoders().values()])
    for _ in range(PROCESSES):
        done = subprocess.run(
            [sys.executable, "-c", RACE, names, documents], cwd=ROOT, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()


def test_threads_that_read_the_ledger_first_all_live(tmp_path: pathlib.Path) -> None:
    """As a daemon's do right after its start, when two shims are waiting."""
    for folder in ("vfs", "homes"):
        (tmp_path / folder).mkdir(mode=0o700)
    (tmp_path / "vfs/0000:01:10.0.json").write_text(json.dumps(RECORD))
    (tmp_path / "vfs/0000:01:10.1.json").write_text(json.dumps({**RECORD, "version": 99}))
    (tmp_path / "homes/0000:01:10.0.json").write_text(json.dumps({"device": 1, "home": RECORD["home"]}))
    for _ in range(10):
        done = subprocess.run([sys.executable, "-c", READING, tmp_path], cwd=ROOT, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()


def test_threads_that_read_a_prev_result_first_all_live() -> None:
    """It is converted from the document that is passed on, not decoded a second time."""
    whole = json.dumps(
        document(inspect.type_info(result.Result)) | {"ips": [{"address": "192.0.2.1/24"}], "routes": []}
    )
    for _ in range(10):
        done = subprocess.run([sys.executable, "-c", CONVERTING, whole], cwd=ROOT, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
