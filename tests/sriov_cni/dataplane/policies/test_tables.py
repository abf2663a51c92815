"""The daemon's table of policies: what comes from the agent's socket, who waits for a pod, who follows the changes."""

import asyncio
import contextlib
import logging
import pathlib
import zlib
from collections.abc import AsyncIterator

import msgspec
import prometheus_client
import pytest

from sriov import errors
from sriov.cluster import framing, pod_policies, policy_changes, policy_frames
from sriov.cluster.pod_policies import PodPolicy
from sriov.cluster.policies import Grant, Opening, Place, PolicyChange, PolicyKind, PolicyTable, Rules, SetChange
from sriov.daemon import background
from sriov_cni.dataplane.policies import reception, tables
from sriov_cni.monitoring import policies_metrics
from tests.deviceplugin import loops
from tests.sriov_agent import processes

NAME = "0123456789abcdef"
A: Place = ("x", "a", "")
B: Place = ("x", "b", "")
BLUE: Place = ("x", "a", "x/blue")
ADDRESS = bytes((10, 0, 0, 1))
TABLE = PolicyTable(
    {NAME: frozenset({ADDRESS})},
    {"in": Grant("x/p", (Opening((NAME,)),)), "out": Grant("x/q")},
    {A: Rules(("in",)), B: Rules(), BLUE: Rules(None, ("out",))},
    frozenset(PolicyKind),
)
WHOLE = policy_changes.whole(TABLE)
encoded = policy_frames.FORMAT.encoded


class Node:
    """`heard` has whom the changes concerned, as one hears who follows them."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.where = reception.PolicyPlaces(folder / "policies.sock", folder / "lib/policies", 0)
        self.held = tables.PolicyTables()
        self.heard: list[frozenset[Place]] = []

    @contextlib.asynccontextmanager
    async def open(self, *, is_followed: bool = True) -> AsyncIterator["Node"]:
        async with contextlib.AsyncExitStack() as stack:
            receiving = reception.made(self.where, self.held)
            await stack.enter_async_context(receiving.serving(self.where.socket, background.Background()))
            if is_followed:
                await stack.enter_async_context(processes.followed(self.held, self.heard))
            yield self

    @contextlib.asynccontextmanager
    async def agent(self, *sent: bytes) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_unix_connection(self.where.socket)
        try:
            for each in sent:
                writer.write(each)
            yield reader, writer
        finally:
            writer.transport.abort()


async def hung_up(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), 5) == b""


def test_who_follows_hears_of_whom_a_change_concerns(tmp_path: pathlib.Path) -> None:
    changes = {
        "a set": (PolicyChange({NAME: SetChange((bytes(4),))}), {A}),
        "a grant": (PolicyChange(grants={"out": Grant("x/q", (Opening(),))}), {BLUE}),
        "rules": (PolicyChange(rules={B: Rules(("in",))}), {B}),
        "a pod that has gone": (PolicyChange(gone_rules=(A, BLUE)), {A, BLUE}),
    }

    async def body() -> None:
        async with Node(tmp_path).open() as place, place.agent(encoded(WHOLE)) as (_, writer):
            await loops.until(lambda: place.heard == [{A, B, BLUE}])
            for change, concerned in changes.values():
                place.heard.clear()
                writer.write(encoded(change))
                await loops.until(lambda: bool(place.heard))
                assert place.heard == [concerned]
            assert place.held.rules_of("x", "a", "") is None

    loops.run(body())


def test_who_follows_all_changes_is_woken_by_those_that_concern_somebody(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        async with Node(tmp_path).open(is_followed=False) as place:
            for sent, wakes in (([WHOLE], True), ([WHOLE], False), ([WHOLE, PolicyChange(rules={A: Rules()})], True)):
                async with place.agent(*map(encoded, sent)):
                    waiting = asyncio.create_task(place.held.changed())
                    await asyncio.wait([waiting], timeout=0.3)
                    assert waiting.done() == wakes
                    waiting.cancel()

    loops.run(body())


def test_a_table_that_comes_again_concerns_nobody(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        async with Node(tmp_path).open() as place:
            for _ in range(3):
                async with place.agent(encoded(WHOLE)):
                    await loops.until(lambda: place.held.table == TABLE)
                    await asyncio.sleep(0.1)
            assert place.heard == [{A, B, BLUE}]
            other = msgspec.structs.replace(WHOLE, rules={A: Rules(("in",)), BLUE: Rules(None, ("out",))})
            async with place.agent(encoded(other)):
                await loops.until(lambda: place.heard == [{A, B, BLUE}, {B}])

    loops.run(body())


def test_a_known_pod_without_a_policy_passes_everything_and_an_unknown_one_is_none() -> None:
    async def body() -> None:
        held = tables.PolicyTables()
        assert held.table is None
        assert held.rules_of("x", "a", "") is None
        with pytest.raises(errors.SriovError, match="a change of a table that is not there"):
            held.take(PolicyChange(rules={A: Rules()}))
        held.take(WHOLE)
        assert held.rules_of("x", "a", "") == PodPolicy((TABLE.grants["in"],), None, TABLE.sets)
        assert held.rules_of("x", "a", "blue") == PodPolicy(None, (TABLE.grants["out"],))
        assert held.rules_of("x", "a", "red") == held.rules_of("x", "b", "") == pod_policies.EVERYTHING
        assert held.rules_of("x", "c", "") is held.rules_of("x", "c", "blue") is None

    loops.run(body())


def test_a_pod_that_is_not_known_is_asked_for_once_and_waited_for(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        async with Node(tmp_path).open() as place, place.agent(encoded(WHOLE)) as (reader, writer):
            await loops.until(lambda: place.held.table is not None)
            assert await place.held.wait_for("x", "b", "", 0), "what is known is known at once"
            waiting = [asyncio.create_task(place.held.wait_for("y", "new", "", 5)) for _ in range(3)]
            size = policy_frames.request_length(await reader.readexactly(framing.HEAD.size))
            assert policy_frames.requested(await reader.readexactly(size)) == policy_frames.PodRequest("y", "new")
            writer.write(encoded(PolicyChange(rules={("y", "other", ""): Rules()})))
            await loops.until(lambda: place.held.rules_of("y", "other", "") is not None)
            assert not any(each.done() for each in waiting)
            writer.write(encoded(PolicyChange(rules={("y", "new", ""): Rules()})))
            assert await asyncio.gather(*waiting) == [pod_policies.EVERYTHING] * 3
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.1)

    loops.run(body())


def test_a_pod_that_does_not_come_is_waited_for_as_long_as_said(tmp_path: pathlib.Path) -> None:
    """With an agent, without one, and with one that does not read; a name that no pod has is nobody's."""

    async def body() -> None:
        async with Node(tmp_path).open() as place:
            assert await place.held.wait_for("y", "new", "", 0.1) is None
            async with place.agent(encoded(WHOLE)):
                await loops.until(lambda: place.held.table is not None)
                began = asyncio.get_running_loop().time()
                assert await place.held.wait_for("y", "new", "", 0.3) is None
                assert 0.3 <= asyncio.get_running_loop().time() - began < 1
                for number in range(20_000):
                    await place.held.wait_for("y", f"new-{number}", "", 0)
                assert await place.held.wait_for("x", "a", "", 0)
            assert await place.held.wait_for("..", "a/b", "", 10) is None

    loops.run(body())


def _with_transport(name: str) -> bytes:
    body = msgspec.msgpack.encode({"grants": {"g": ["x/p", [[[], [], [[name]]]]]}, "whole": True})
    return framing.HEAD.pack(len(body)) + body


def test_a_pod_with_another_uid_is_asked_for_and_waited_for(tmp_path: pathlib.Path) -> None:
    """What is known of its predecessor is none of its; what is known of one of its name before counts without a UID."""

    async def body() -> None:
        async with Node(tmp_path).open() as place, place.agent(encoded(WHOLE)) as (reader, writer):
            writer.write(encoded(PolicyChange(rules={A: Rules(("in",), None, "old")})))
            await loops.until(lambda: place.held.table is not None and place.held.table.rules[A].uid == "old")
            assert place.held.rules_of("x", "a", "", "new") is None
            assert await place.held.wait_for("x", "a", "", 0, "old") == place.held.rules_of("x", "a", "")
            waiting = asyncio.create_task(place.held.wait_for("x", "a", "", 5, "new"))
            size = policy_frames.request_length(await reader.readexactly(framing.HEAD.size))
            assert policy_frames.requested(await reader.readexactly(size)) == policy_frames.PodRequest("x", "a")
            writer.write(encoded(PolicyChange(rules={A: Rules((), None, "old")})))
            await loops.until(lambda: place.held.rules_of("x", "a", "") == PodPolicy(()))
            assert not waiting.done()
            writer.write(encoded(PolicyChange(rules={A: Rules(None, (), "new")})))
            assert await waiting == PodPolicy(None, ())

    loops.run(body())


def test_what_is_not_watched_is_not_known_until_it_is(tmp_path: pathlib.Path) -> None:
    """The next daemon has it from the snapshot; that of a pod which no policy selects comes to be known, too."""
    narrow = msgspec.structs.replace(WHOLE, kinds=("NetworkPolicy",))

    async def body() -> None:
        async with Node(tmp_path).open() as place:
            assert place.held.unwatched("blue") == "", "nobody has told"
            async with place.agent(encoded(narrow)):
                await loops.until(place.where.snapshot.exists)
        async with Node(tmp_path).open() as again:
            assert again.held.rules_of("x", "a", "blue") is again.held.rules_of("x", "b", "blue") is None
            assert again.held.rules_of("x", "b", "") == pod_policies.EVERYTHING
            assert [again.held.unwatched(each) for each in ("blue", "")] == ["MultiNetworkPolicy", ""]
            async with again.agent(encoded(narrow), encoded(PolicyChange(kinds=WHOLE.kinds))):
                await loops.until(lambda: again.held.rules_of("x", "b", "blue") == pod_policies.EVERYTHING)
                await loops.until(lambda: again.heard == [{A, B, BLUE}, {A, B, BLUE}])
            assert again.held.unwatched("blue") == ""
            async with again.agent(encoded(narrow)):
                await loops.until(lambda: again.held.rules_of("x", "b", "blue") is None)

    loops.run(body())


def test_a_table_of_an_older_release_is_taken_from_the_agent_and_from_disk(tmp_path: pathlib.Path) -> None:
    """It tells neither what is watched nor UIDs: of NetworkPolicies as before, of others nothing is known."""
    told = {"grants": {"in": Grant("x/p")}, "rules": {A: (["in"], None), BLUE: (["in"], None)}, "whole": True}
    older = msgspec.msgpack.encode(told)

    async def body() -> None:
        async with Node(tmp_path).open() as place, place.agent(framing.HEAD.pack(len(older)) + older):
            await loops.until(lambda: place.held.rules_of("x", "a", "", "any") == PodPolicy((Grant("x/p"),)))
            assert place.held.rules_of("x", "a", "blue") is None
            await loops.until(place.where.snapshot.exists)
        mark = b"sriov-underlay policies 1\n"
        place.where.snapshot.write_bytes(mark + zlib.crc32(older).to_bytes(4, "big") + older)
        async with Node(tmp_path).open() as again:
            assert again.held.rules_of("x", "a", "", "any") == PodPolicy((Grant("x/p"),))
            assert again.held.rules_of("x", "a", "blue") is None

    loops.run(body())


WRONG = {
    "not whole": (encoded(PolicyChange(rules={A: Rules()})), "the first frame is not the whole table"),
    "too long": (framing.HEAD.pack(policy_frames.MOST_BYTES + 1), "a frame of 8388609 bytes"),
    "of nothing": (framing.HEAD.pack(0), "a frame of 0 bytes"),
    "rubbish": (framing.HEAD.pack(3) + b"\xc1\xc1\xc1", "a frame that is no change of policies"),
    "a set's name": (encoded(PolicyChange({"../../etc/x": SetChange()}, whole=True)), "set '../../etc/x'"),
    "a set's name of a megabyte": (encoded(PolicyChange({"x" * (1 << 20): SetChange()}, whole=True)), "set 'xxx"),
    "a transport of a megabyte": (_with_transport("y" * (1 << 20)), "Invalid enum value 'yyy"),
    "a grant that is not there": (
        encoded(PolicyChange(rules={A: Rules(("in",))}, whole=True)),
        "the grant 'in' is not",
    ),
    "a set that is not there": (encoded(PolicyChange(grants=TABLE.grants, whole=True)), f"the set '{NAME}' is not in"),
    "too many": (
        encoded(PolicyChange({f"{number:016x}": SetChange() for number in range((1 << 14) + 1)}, whole=True)),
        "16385 sets are too many",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_is_refused_in_one_line_and_the_table_kept(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    sent, words = WRONG[case]

    async def body() -> None:
        async with Node(tmp_path).open() as place:
            async with place.agent(encoded(WHOLE)):
                await loops.until(lambda: place.held.table == TABLE)
            async with place.agent(sent) as (reader, _):
                await hung_up(reader)
            assert place.held.table == TABLE
            assert len(place.heard) == 1

    loops.run(body())
    [line] = [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR]
    assert line.startswith("policies from the agent: ")
    assert words in line
    assert line.endswith("its connection is closed, the table stays as it was")
    assert len(line) < 700


def test_a_gone_set_that_a_grant_names_is_refused(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        async with Node(tmp_path).open() as place:
            async with place.agent(encoded(WHOLE), encoded(PolicyChange(gone_sets=(NAME,)))) as (reader, _):
                await hung_up(reader)
            assert place.held.table == TABLE

    loops.run(body())


def test_the_next_daemon_has_the_table_and_nobody_is_concerned_when_the_agent_comes(tmp_path: pathlib.Path) -> None:
    """Who follows hears of the snapshot once: whether a pod's rules are what they should be is to be looked at."""

    async def body() -> None:
        async with Node(tmp_path).open() as place, place.agent(encoded(WHOLE)):
            await loops.until(place.where.snapshot.exists)
            assert place.where.snapshot.stat().st_mode & 0o777 == 0o600
        async with Node(tmp_path).open() as again:
            assert again.held.table == TABLE
            await loops.until(lambda: again.heard == [{A, B, BLUE}])
            async with again.agent(encoded(WHOLE)):
                await asyncio.sleep(0.2)
            assert len(again.heard) == 1

    loops.run(body())


@pytest.mark.parametrize("how", ["empty", "cut", "a bit", "of Services"])
def test_a_damaged_snapshot_is_said_and_nothing_is_known(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """Nobody hears of anything, so that pods keep the rules that they have."""

    async def body() -> None:
        async with Node(tmp_path).open() as place, place.agent(encoded(WHOLE)):
            await loops.until(place.where.snapshot.exists)
        good = place.where.snapshot.read_bytes()
        flipped = good[:-1] + bytes([good[-1] ^ 1])
        others = good.replace(b"underlay policies", b"underlay services")
        bad = {"empty": b"", "cut": good[:-1], "a bit": flipped, "of Services": others}
        place.where.snapshot.write_bytes(bad[how])
        async with Node(tmp_path).open() as again:
            await asyncio.sleep(0.05)
            assert (again.held.table, again.heard) == (None, [])
            async with again.agent(encoded(WHOLE)):
                await loops.until(lambda: again.held.table == TABLE)

    loops.run(body())
    [line] = [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR]
    assert line.startswith(
        f"snapshot of policies {tmp_path / 'lib/policies'} cannot be used: it is damaged, or another"
    )
    assert line.endswith("; pods keep the rules that they have, and nothing is known of new ones until the agent sends"
                         " the table")  # fmt: skip


def test_the_meter_counts_what_the_agent_sends(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        place, where = Node(tmp_path), prometheus_client.CollectorRegistry()
        meter = policies_metrics.PoliciesMeter(where, place.held.usage)
        receiving = reception.made(place.where, place.held, meter)
        meter.silence = receiving.silence

        def sample(name: str, **labels: str) -> float | None:
            return where.get_sample_value(f"sriov_policies_{name}", labels)

        async with receiving.serving(place.where.socket, background.Background()):
            assert (sample("agent_silence_seconds") or 0) > 0
            assert place.held.silence() > 0
            async with place.agent(encoded(WHOLE), WRONG["a grant that is not there"][0]) as (reader, _):
                await hung_up(reader)
            assert (sample("change_duration_seconds_count"), sample("refused_changes_total")) == (1, 1)
            assert [sample("entries", table=each) for each in ("sets", "addresses", "grants")] == [1, 1, 2]
            assert sample("entries", table="pods and networks") == 3
            assert sample("capacity", table="addresses") == policy_frames.MOST_ADDRESSES
            async with place.agent(encoded(WHOLE)):
                await loops.until(lambda: sample("agent_silence_seconds") == 0)
                assert place.held.silence() == 0

    loops.run(body())
