"""A pod that the daemon asks for: its answer and the watch's events come in any order, and the view ends up right."""

import asyncio

import msgspec
import pytest

from sriov.apiserver import connection
from sriov.cluster import policy_frames
from sriov_agent import objects as watched
from sriov_agent.policies import asking, objects, view
from tests.deviceplugin import loops
from tests.sriov_agent.policies import small_cluster

NEW = msgspec.convert(small_cluster.PODS[0], objects.PodObject)
KEY = NEW.metadata.key


class Slow:
    """An API server that answers once it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.answer = asyncio.Event()
        self.error: connection.FailedError | None = None

    async def get(self, kind: connection.WatchedKind, namespace: str, name: str) -> watched.AnyObject:
        self.asked.append((namespace, name))
        await self.answer.wait()
        if self.error is not None:
            raise self.error
        return NEW


def relabelled() -> objects.PodObject:
    return msgspec.structs.replace(NEW, metadata=msgspec.structs.replace(NEW.metadata, labels={"pod": "other"}))


@pytest.mark.parametrize("event", ["none", "changed", "gone", "failed", "gone and asked for again"])
def test_the_answer_counts_only_if_no_event_has_told_of_the_pod(event: str) -> None:
    async def body() -> None:
        source, seen, noted = Slow(), view.PolicyView(small_cluster.NODE, lambda _: None), list[int]()
        made = asking.Asking(source, seen, lambda: noted.append(1))
        reader = asyncio.StreamReader()
        listening = asyncio.create_task(made.listen(reader))
        running = asyncio.create_task(made.run())
        reader.feed_data(policy_frames.request(*KEY) * 3)
        await loops.until(lambda: source.asked == [KEY])
        match event:
            case "changed":
                seen.put(relabelled())
            case "gone" | "gone and asked for again":
                seen.put(NEW)
                seen.remove(objects.PodObject, KEY)
            case "failed":
                source.error = connection.AbsentError("getting Pod: 404")
        if event == "gone and asked for again":
            reader.feed_data(policy_frames.request(*KEY))
            await asyncio.sleep(0.1)
        source.answer.set()
        await loops.until(lambda: not seen.awaited)
        await asyncio.sleep(0.05)
        seen.change()
        assert ((*KEY, "") in seen.rules, len(noted)) == (event in ("none", "changed"), event == "none")
        assert source.asked == [KEY]
        reader.feed_eof()
        await listening
        running.cancel()

    loops.run(body())
