"""Stand-in for kube-apiserver on a loopback socket: as much of its HTTP as kubectl and Helm use.

Requests are answered from `objects`, and requests about a running pod by `kubelets`. It is no API server: no
authentication, no authorization, no admission except the schemas, one version of each kind, only JSON, every dry run is
refused. It does not prove that a cluster accepts the objects, but that the documented commands lead to them.
"""

import contextlib
import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator
from typing import Any

import yaml

from tests.fakes.cluster import discovery, kinds, patches, protobufs, streams
from tests.fakes.cluster.kinds import Kind, Object, RefusedError
from tests.fakes.cluster.kubelets import Kubelets
from tests.fakes.cluster.objects import Objects

PROTOBUF = "application/vnd.kubernetes.protobuf"


Asked = tuple[str, str, str]
"""A request: its token, its method, its path."""


@contextlib.contextmanager
def serving(objects: Objects, kubelets: Kubelets, asked: list[Asked] | None = None) -> Iterator[str]:
    """Serve until the context ends; yields the URL. Every request is added to `asked`."""
    server = Server(objects, kubelets, [] if asked is None else asked)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        objects.close()
        server.shutdown()
        thread.join()
        server.server_close()  # waits for requests in progress


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self, objects: Objects, kubelets: Kubelets, asked: list[Asked]) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.objects, self.kubelets, self.asked = objects, kubelets, asked


class Request(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 0.5  # a kept connection that nobody uses is closed, so that the server's end does not wait for it
    server: Server

    def do_GET(self) -> None:
        self._answered()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 (http.server's names)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name there)
        """Log nothing."""

    def _answered(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        self._asked = urllib.parse.parse_qs(url.query)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.server.asked.append((token, self.command, url.path))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self._route(url.path.strip("/").split("/"), self._read(body))
        except RefusedError as error:
            status = {"status": "Failure", "message": str(error), "reason": error.reason, "code": error.code}
            self._say({"kind": "Status", "apiVersion": "v1", **status}, error.code)

    def _read(self, body: bytes) -> Any:
        if self.command == "DELETE":  # the options are about how soon, and in which order
            return {}
        if self.headers.get("Content-Type") == PROTOBUF:
            return protobufs.secret(body)
        return yaml.safe_load(body) or {}

    def _option(self, name: str) -> str:
        return self._asked.get(name, [""])[0]

    def _route(self, path: list[str], sent: Any) -> None:
        if (document := discovery.found(path)) is not None:
            self._say(document)
            return
        match path:
            case ["api", "v1" as api, *rest]:
                self._resource(api, rest, sent)
            case ["apis", group, version, *rest]:
                self._resource(f"{group}/{version}", rest, sent)
            case _:
                raise RefusedError(404, "NotFound", "the server could not find the requested resource")

    def _resource(self, api: str, path: list[str], sent: Any) -> None:
        namespace = ""
        if path[0] == "namespaces" and len(path) > 2:
            _, namespace, *path = path
        kind = kinds.of(api, path[0])
        if self._option("dryRun"):
            raise RefusedError(400, "BadRequest", "nothing is tried dry here")
        match self.command, path[1:]:
            case "GET", []:
                self._list(kind, namespace)
            case "POST", []:
                self._say(self.server.objects.create(kind, namespace, sent), 201)
            case _, [name, *rest]:
                self._object(kind, namespace, name, rest, sent)

    def _object(self, kind: Kind, namespace: str, name: str, rest: list[str], sent: Any) -> None:
        objects = self.server.objects
        match self.command, rest, self.headers.get("Content-Type"):
            case "GET", [], _:
                self._say(objects.get(kind, namespace, name))
            case "PUT", [], _:
                self._say(objects.replace(kind, namespace, sent))
            case "PATCH", [], "application/apply-patch+yaml":
                self._say(objects.apply(kind, namespace, sent))
            case "PATCH", [], "application/json-patch+json":
                self._say(objects.patch(kind, namespace, name, patches.replacing(sent)))
            case "PATCH", [], "application/merge-patch+json":
                self._say(objects.patch(kind, namespace, name, patches.merging(sent)))
            case "PATCH", [], "application/strategic-merge-patch+json" if not patches.has_list(sent):
                self._say(objects.patch(kind, namespace, name, patches.merging(sent)))
            case "DELETE", [], _:
                self._say(objects.delete(kind, namespace, name))
            case "GET", ["log"], _:
                pod, container = self._container(kind, namespace, name)
                self._send(self.server.kubelets.said(pod, container).encode(), "text/plain")
            case "GET", ["exec"], _:
                self._exec(*self._container(kind, namespace, name))
            case "POST", ["exec"], _:  # kubectl's second try, by the older protocol, if the first was refused
                self.server.kubelets.run(*self._container(kind, namespace, name), self._asked["command"], "")
                raise RefusedError(405, "MethodNotAllowed", "only WebSockets are spoken here")
            case _:
                raise RefusedError(405, "MethodNotAllowed", f"no {self.command} of {kind.plural}/{'/'.join(rest)}")

    def _exec(self, pod: Object, container: str) -> None:
        """Run a command. A kubelet that cannot be reached is told before the connection is upgraded."""
        run, command = self.server.kubelets.run, self._asked["command"]
        if self._option("stdin") == "true" and self._option("tty") != "true":  # nobody closes a terminal
            streams.accept(self)
            ended = run(pod, container, command, streams.received(self.rfile))
        else:
            ended = run(pod, container, command, "")
            streams.accept(self)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # its client has given up
            streams.answer(self, ended)

    def _container(self, kind: Kind, namespace: str, name: str) -> tuple[Object, str]:
        """Return a running pod's container; kubectl asks for no other. Raises RefusedError."""
        pod = self.server.objects.get(kind, namespace, name)
        if pod.get("status", {}).get("phase") != "Running":
            raise RefusedError(400, "BadRequest", f"pod {name} does not have a host assigned")
        return pod, self._option("container") or pod["spec"]["containers"][0]["name"]

    def _list(self, kind: Kind, namespace: str) -> None:
        objects = self.server.objects
        if self._option("watch"):
            self._watch(kind, namespace)
            return
        # The version first: a change meanwhile is then reported twice, and not missed.
        versions = {"resourceVersion": str(objects.version)}
        found = [each for each in objects.listed(kind) if self._wanted(each, namespace)]
        self._say({"kind": f"{kind.name}List", "apiVersion": kind.api, "metadata": versions, "items": found})

    def _wanted(self, found: Object, namespace: str) -> bool:
        labels, fields = (self._option(f"{of}Selector") for of in ("label", "field"))
        return namespace in ("", found["metadata"].get("namespace")) and kinds.selected(found, labels, fields)

    def _watch(self, kind: Kind, namespace: str) -> None:
        if self._option("sendInitialEvents"):
            raise RefusedError(422, "Invalid", "a watch that begins with a list is not to be had")
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # its client has seen enough
            for change in self.server.objects.changes(int(self._option("resourceVersion") or 0)):
                if change.kind is kind and self._wanted(change.found, namespace):
                    self.wfile.write(json.dumps({"type": change.what, "object": change.found}).encode() + b"\n")

    def _say(self, said: Object, code: int = 200) -> None:
        self._send(json.dumps(said).encode(), "application/json", code)

    def _send(self, body: bytes, kind: str, code: int = 200) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
