"""Stand-in for kube-apiserver on a loopback socket: lists in pages and watches, one pod, and its faults.

It is no API server: it knows no schema. It takes one token, if it was given one, and the agent's selectors.
"""

import asyncio
import contextlib
import json
import re
import ssl
import urllib.parse
from collections.abc import AsyncIterator
from typing import Any

from tests.sriov_agent.cluster import Json

PATHS = {
    "/api/v1/services": "Service",
    "/apis/discovery.k8s.io/v1/endpointslices": "EndpointSlice",
    "/api/v1/nodes": "Node",
    "/apis/networking.k8s.io/v1/servicecidrs": "ServiceCIDR",
    "/api/v1/pods": "Pod",
    "/api/v1/namespaces": "Namespace",
    "/apis/networking.k8s.io/v1/networkpolicies": "NetworkPolicy",
    "/apis/k8s.cni.cncf.io/v1beta1/multi-networkpolicies": "MultiNetworkPolicy",
}
_ONE = re.compile("/api/v1/namespaces/([^/]+)/pods/([^/]+)")


class StandIn:
    """`asked` has each request as its kind, "list" or "watch", and its options.

    Faults: `answers` are HTTP statuses for the next requests (with `headers`), `hangs` keeps requests waiting,
    `absent` kinds are not served, of `late` kinds watches tell nothing, `oldest` is the first version that a watch may
    begin at.
    """

    def __init__(self, page: int = 1000) -> None:
        self.objects: dict[tuple[str, str, str], Json] = {}
        self.changes: list[tuple[int, str, Json]] = []
        self.version = 100
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.tokens: set[str] = set()
        self.token = ""
        self.answers: list[int] = []
        self.headers = ""
        self.hangs = False
        self.absent: set[str] = set()
        self.late: set[str] = set()
        self.oldest = 0
        self.paths = dict(PATHS)
        self._page = page
        self._listed: dict[str, tuple[int, list[Json]]] = {}
        self._news = asyncio.Condition()
        self._writers: set[asyncio.StreamWriter] = set()
        self._watching: dict[asyncio.StreamWriter, str] = {}

    async def put(self, *told: Json) -> None:
        for each in told:
            key = self._key(each)
            what = "MODIFIED" if key in self.objects else "ADDED"
            self.objects[key] = each  # at once: a list has all that its version says
            await self._tell(what, each)

    async def delete(self, told: Json) -> None:
        del self.objects[self._key(told)]
        await self._tell("DELETED", told)

    async def bookmark(self, kind: str) -> None:
        """Tell watches of the kind that there is nothing until a new version."""
        self.version += 1
        await self._tell("BOOKMARK", {"kind": kind, "metadata": {"name": ""}}, now=True)

    def forget(self) -> None:
        """Forget old versions, as after a compaction: who watches from one is told 410."""
        self.oldest = self.version

    async def say(self, text: str, kind: str) -> None:
        """Write to the kind's watches whatever it is."""
        for writer in self.watches(kind):
            writer.write(_chunk(text.encode()))
            await writer.drain()

    def cut(self, kind: str = "") -> None:
        """End connections in the middle of whatever they are doing: those of a kind's watches, or all."""
        for writer in self.watches(kind) if kind else list(self._writers):
            writer.transport.abort()

    def watches(self, kind: str) -> list[asyncio.StreamWriter]:
        return [writer for writer, its in self._watching.items() if its == kind]

    @contextlib.asynccontextmanager
    async def serving(self, port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
        """Yields the port."""
        server = await asyncio.start_server(self._answer, "127.0.0.1", port, ssl=tls)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            self.cut()
            async with self._news:  # watches notice at once that their connection has gone
                self._news.notify_all()

    async def _tell(self, what: str, told: Json, now: bool = False) -> None:
        self.version += not now
        version = self.version
        told["metadata"]["resourceVersion"] = str(version)
        async with self._news:
            self.changes.append((version, what, json.loads(json.dumps(told))))
            self._news.notify_all()

    def _key(self, told: Json) -> tuple[str, str, str]:
        return told["kind"], told["metadata"].get("namespace", ""), told["metadata"]["name"]

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._one(reader, writer):
                pass
        self._writers.discard(writer)
        self._watching.pop(writer, None)
        writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, where = head.split(" ")[:2]
        url = urllib.parse.urlsplit(where)
        options = dict(urllib.parse.parse_qsl(url.query))
        body = await reader.readexactly(int(_header(head, "content-length") or 0))
        kind = self.paths.get(url.path, "")
        listing = method == "GET" and kind
        if one := _ONE.fullmatch(url.path):
            self.asked.append(("Pod", method.lower(), {"name": "/".join(one.groups())}))
        else:
            self.asked.append(
                (kind or url.path, ("watch" if "watch" in options else "list") if listing else method, options)
            )
        token = _header(head, "authorization")
        self.tokens.add(token)
        while self.hangs:
            await asyncio.sleep(0.05)
        if self.token and token != f"Bearer {self.token}":
            return await _refuse(writer, 401, "Unauthorized")
        if self.answers:
            return await _refuse(writer, self.answers.pop(0), "a fault", self.headers)
        if kind in self.absent:
            return await _refuse(writer, 404, "the server could not find the requested resource")
        if not listing:
            return await self._one_object(writer, method, url.path, body, _header(head, "content-type"))
        return await self._many(kind, options, reader, writer)

    async def _many(
        self, kind: str, options: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        if (told := self._unselectable(kind, options)) is not None:
            return await _refuse(writer, 400, told)
        if "watch" in options:
            await self._watch(kind, options, reader, writer)
            return False
        return await self._list(kind, options, writer)

    async def _one_object(
        self, writer: asyncio.StreamWriter, method: str, path: str, body: bytes, content: str
    ) -> bool:
        """Answer a request about one object: of these kinds only a pod is asked for so."""
        one = _ONE.fullmatch(path)
        if method != "GET" or one is None:
            return await _refuse(writer, 405, f"{method} {path}: {content}, {len(body)} bytes")
        found = self.objects.get(("Pod", one[1], one[2]))
        return await (_send(writer, 200, found) if found else _refuse(writer, 404, "not found"))

    def _unselectable(self, kind: str, options: dict[str, str]) -> str | None:
        """Return why the kind cannot be selected so, None if it can."""
        return None

    def _wanted(self, told: Json, options: dict[str, str]) -> bool:
        return _wanted(told, options)

    async def _list(self, kind: str, options: dict[str, str], writer: asyncio.StreamWriter) -> bool:
        first = int(options.get("continue", 0))
        size = min(int(options.get("limit", self._page)), self._page)
        if not first:
            wanted = (key for key, each in self.objects.items() if key[0] == kind and self._wanted(each, options))
            self._listed[kind] = self.version, [self.objects[key] for key in sorted(wanted)]
        version, found = self._listed[kind]  # the further pages are of the same moment
        more = {"continue": str(first + size)} if first + size < len(found) else {}
        metadata = {"resourceVersion": str(version), **more}
        # The items of a real list have no kind of their own.
        items = [{key: value for key, value in each.items() if key != "kind"} for each in found[first : first + size]]
        await _send(writer, 200, {"kind": f"{kind}List", "metadata": metadata, "items": items})
        return True

    async def _watch(
        self, kind: str, options: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        since = int(options["resourceVersion"])
        if since < self.oldest:
            status = {"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old"}
            writer.write(_chunk(json.dumps({"type": "ERROR", "object": status}).encode() + b"\n") + b"0\r\n\r\n")
            await writer.drain()
            return
        self._watching[writer] = kind
        done = 0
        while not (writer.is_closing() or reader.at_eof()):  # a client that was killed leaves no more than its end
            async with self._news:
                new = self.changes[done:]
                if not new or kind in self.late:
                    with contextlib.suppress(TimeoutError):
                        # In this task: asyncio.wait_for() has one of its own, which may keep the lock, or an end.
                        async with asyncio.timeout(0.5):
                            await self._news.wait()
                    continue
                done += len(new)
            for version, what, told in new:
                wanted = what == "BOOKMARK" or self._wanted(told, options)
                if version > since and told["kind"] == kind and wanted:
                    writer.write(_chunk(json.dumps({"type": what, "object": told}).encode() + b"\n"))
            await writer.drain()


def _wanted(told: Json, options: dict[str, str]) -> bool:
    labels = told["metadata"].get("labels", {})
    without = [each.removeprefix("!") for each in options.get("labelSelector", "").split(",") if each]
    name = options.get("fieldSelector", "").removeprefix("metadata.name=")
    return not any(each in labels for each in without) and name in ("", told["metadata"]["name"])


def _header(head: str, name: str) -> str:
    return next((line[len(name) + 2 :] for line in head.splitlines() if line.lower().startswith(f"{name}: ")), "")


async def _refuse(writer: asyncio.StreamWriter, code: int, message: str, headers: str = "") -> bool:
    told = {"kind": "Status", "status": "Failure", "code": code, "message": message}
    return await _send(writer, code, told, headers)


async def _send(writer: asyncio.StreamWriter, code: int, told: Any, headers: str = "") -> bool:
    body = json.dumps(told).encode()
    writer.write(
        f"HTTP/1.1 {code} x\r\nContent-Type: application/json\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    await writer.drain()
    return True


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"
