"""The claim hook: passes for VFs that are attached to the container's namespace, and for nothing else."""

import json
import os
import pathlib
import random
import shutil
import subprocess

import pytest

from sriov.state import ledger
from sriov_dra.hook import installed
from tests.sriov_dra import hook_cases, hooks
from tests.sriov_dra.hook_cases import CLAIM, OTHER, VF

SOURCE = pathlib.Path(__file__).parents[2] / "sriov_dra/hook/attached.c"
DEVICE, INODE = hook_cases.own_namespace()
HERE = f"[{DEVICE},{INODE}]"


@pytest.fixture
def book(tmp_path: pathlib.Path) -> ledger.Ledger:
    made = ledger.Ledger(tmp_path)
    made.create()
    return made


@pytest.fixture(params=["native", "sanitized"])
def program(request: pytest.FixtureRequest) -> pathlib.Path:
    return hooks.program(*(("--sanitize",) if request.param == "sanitized" else ()))


def refusal(program: pathlib.Path, run_dir: pathlib.Path, told: str | bytes, *vfs: str) -> str:
    """What it says, "" if it lets the container start."""
    done = hook_cases.call(program, run_dir, told, *vfs)
    assert (done.returncode, done.stdout) in ((0, b""), (1, b"")), done.stderr
    assert done.returncode == bool(done.stderr) and done.stderr.count(b"\n") == done.returncode
    return done.stderr.decode()


def test_it_passes_what_the_ledger_has_in_the_containers_namespace(
    program: pathlib.Path, book: ledger.Ledger, tmp_path: pathlib.Path
) -> None:
    """The record is as the daemon of this version writes it."""
    book.write(hook_cases.record(VF, (DEVICE, INODE)))
    assert refusal(program, tmp_path, hook_cases.state()) == ""
    assert refusal(program, tmp_path, hook_cases.state(annotations={"pid": "1", "x": '","pid":1,"'}, root="/x")) == ""


def test_each_vf_of_the_claim_has_to_be_there(
    program: pathlib.Path, book: ledger.Ledger, tmp_path: pathlib.Path
) -> None:
    book.write(hook_cases.record(VF, (DEVICE, INODE)))
    assert f"VF {OTHER} of claim {CLAIM} cannot be in this pod" in refusal(
        program, tmp_path, hook_cases.state(), VF, OTHER
    )
    for netns in ((DEVICE, INODE + 1), (DEVICE + 1, INODE), (0, 0)):
        book.write(hook_cases.record(OTHER, netns))
        said = refusal(program, tmp_path, hook_cases.state(), VF, OTHER)
        assert f"VF {OTHER} of claim {CLAIM} is attached to another network namespace" in said


def test_a_record_of_another_format_is_a_refusal(book: ledger.Ledger, tmp_path: pathlib.Path) -> None:
    """If this fails with a new ledger.FORMAT, then attached.c has to know it too."""
    program = hooks.program()
    for version in (0, ledger.FORMAT + 1):
        (book.folder / f"{VF}.json").write_text(f'{{"version":{version},"netns":{HERE}}}')
        said = refusal(program, tmp_path, hook_cases.state())
        assert "has a format that is not known here" in said
        assert "remedy: have the CNI daemon and the DRA driver of one version" in said
    (book.folder / f"{VF}.json").write_text(f'{{"version":{ledger.FORMAT},"netns":{HERE}}}')
    assert refusal(program, tmp_path, hook_cases.state()) == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        f'{{"version":1,"netns":{HERE}',
        f'{{"netns":{HERE}}}',
        '{"version":1}',
        f'{{"version":"1","netns":{HERE}}}',
        f'{{"version":1,"netns":"{HERE}"}}',
        f'{{"version":1,"netns":[{DEVICE}]}}',
        f'{{"version":1,"netns":[{DEVICE},{INODE},0]}}',
        f'{{"version":1,"netns":[-{DEVICE},{INODE}]}}',
        f'{{"version":1,"netns":[{DEVICE},{INODE}{2**64}]}}',
        f'[{{"version":1,"netns":{HERE}}}]',
        f'{{"version":1,"owner":{{"netns":{HERE}}}}}',
        f'{{"version":1,"owner":["netns",{HERE}]}}',
        f'{{"version":1,"netns":{HERE},"netns":[0,0]}}',
        json.dumps({"version": 1, "owner": f'","netns":{HERE},"', "netns": [0, 0]}),
        json.dumps({"version": 1, "owner": f'\\","netns":{HERE},"x":"', "netns": [0, 0]}),
        f'{{"version":1,"netns":{HERE}}}\0',
        f'{{"version":1,"netns":{HERE},"pad":"{"x" * (1 << 20)}"}}',
    ],
    ids=lambda text: text[:24],
)
def test_a_record_that_does_not_say_so_is_a_refusal(
    program: pathlib.Path, book: ledger.Ledger, tmp_path: pathlib.Path, text: str
) -> None:
    (book.folder / f"{VF}.json").write_text(text)
    assert f"VF {VF} of claim {CLAIM}" in refusal(program, tmp_path, hook_cases.state())


@pytest.mark.parametrize(
    "told",
    [
        "",
        "{}",
        '{"pid":0}',
        '{"pid":-1}',
        '{"pid":"OWN"}',
        '{"pid":OWN',
        '{"annotations":{"pid":OWN}}',
        '{"pid":OWN,"pid":1}',
        '{"pid":OWN.5}',
        '{"pid":OWN}' + " " * (1 << 20),
    ],
    ids=lambda told: told[:24],
)
def test_a_state_without_a_process_is_a_refusal(
    program: pathlib.Path, book: ledger.Ledger, tmp_path: pathlib.Path, told: str
) -> None:
    book.write(hook_cases.record(VF, (DEVICE, INODE)))
    said = refusal(program, tmp_path, told.replace("OWN", str(os.getpid())))
    assert f"has no process, so that claim {CLAIM} cannot be checked" in said


def drawn_value(drawn: random.Random, depth: int = 0) -> object:
    """Strings that look like members, and objects that have them."""
    pieces = ['"', "\\", "{", "}", "[", "]", ":", ",", '"pid":', str(os.getpid()), "é", "\n"]
    if depth > 2 or drawn.random() < 0.5:
        return "".join(drawn.choice(pieces) for _ in range(drawn.randrange(8)))
    values = [drawn_value(drawn, depth + 1) for _ in range(drawn.randrange(3))]
    return values if drawn.random() < 0.4 else {"pid": os.getpid(), **{str(value): value for value in values}}


def test_whatever_is_in_a_state_its_process_is_the_one_that_a_reader_of_json_finds(
    book: ledger.Ledger, tmp_path: pathlib.Path
) -> None:
    program, drawn = hooks.program("--sanitize"), random.Random(7)  # noqa: S311
    book.write(hook_cases.record(VF, (DEVICE, INODE)))
    for _ in range(40):
        process = drawn.choice([{"pid": os.getpid()}, {"pid": 0}, {}])
        told = {f"x{drawn_value(drawn)}": drawn_value(drawn), **process, "annotations": drawn_value(drawn)}
        text = json.dumps(told, ensure_ascii=drawn.random() < 0.5, indent=drawn.choice([None, 1]))
        assert (refusal(program, tmp_path, text) == "") is bool(process.get("pid")), text
        assert refusal(program, tmp_path, text[: drawn.randrange(len(text))].encode()), text


def test_a_process_that_is_gone_is_a_refusal(program: pathlib.Path, tmp_path: pathlib.Path) -> None:
    assert "the network namespace of process 4194305" in refusal(program, tmp_path, hook_cases.state(4194305))


def test_it_is_small_and_without_warnings_and_asks_for_no_memory() -> None:
    text = SOURCE.read_text()
    assert len(text.splitlines()) <= 200
    assert not [word for word in ("alloc(", "strdup(", "sprintf(text", "strcpy(", "strcat(") if word in text]
    if shutil.which("cc") is None:
        pytest.skip("no cc; hack/packages gcc libc6-dev installs it")
    flags = ["-std=c11", "-fsyntax-only", "-Os", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror"]
    done = subprocess.run(["cc", *flags, SOURCE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_copy_for_the_runtime_is_made_again_when_it_is_not_ours(tmp_path: pathlib.Path) -> None:
    hook = installed.ClaimHook(hooks.program(), tmp_path / "plugin")
    path = hook.ready()
    assert path == tmp_path / "plugin/sriov-claim-hook"
    first = path.stat()
    assert (first.st_mode & 0o777, path.read_bytes()) == (0o755, hooks.program().read_bytes())
    assert installed.ClaimHook(hooks.program(), tmp_path / "plugin").ready().stat().st_ino == first.st_ino, "left alone"
    path.write_text("#!/bin/true\n")
    assert hook.ready().read_bytes() == hooks.program().read_bytes()
    path.unlink()
    assert hook.ready().read_bytes() == hooks.program().read_bytes()


@pytest.mark.parametrize("broken", ["absent", "not a program"])
def test_a_hook_that_nothing_can_execute_is_refused_with_the_remedy(tmp_path: pathlib.Path, broken: str) -> None:
    source = tmp_path / "hook"
    if broken != "absent":
        source.write_text("no program")
    with pytest.raises(installed.HookError) as caught:
        installed.ClaimHook(source, tmp_path / "plugin").ready()
    assert str(tmp_path) in str(caught.value)
    assert "hack/build-shim --hook" in str(caught.value)
    assert "`unattached`, with the reason" in str(caught.value)
