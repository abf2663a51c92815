"""Connection to the API server: lists, watches and single objects, and their failures.

The client library reads configurations, tokens (again when one has expired) and certificates, and frames what it gets.
"""

import contextlib
import pathlib
import socket
import types
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, TypeVar

import httpx2
import msgspec
from lightkube import operators
from lightkube.config import client_adapter, kubeconfig, models
from lightkube.core import async_client, exceptions, resource
from lightkube.types import PatchType

from sriov import errors

_CHUNK = 100  # objects of a page: what a page takes stays taken
_TIMEOUT = httpx2.Timeout(30.0, connect=5.0)
_WATCH = 600  # seconds that one watch lasts: the server ends it then
_KEEPALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000),
]
"""A server that has gone without a word is noticed in half a minute."""

BOOKMARK, DELETED = "BOOKMARK", "DELETED"


class FailedError(errors.SriovError):
    """A request failed. `pause` is how many seconds the server wants to be left alone."""

    def __init__(self, message: str, remedy: str = "", pause: float = 0.0) -> None:
        super().__init__(message, remedy)
        self.pause = pause


class EndedError(FailedError):
    """The server ended a watch in good order, or cut it: it is taken up where it ended."""


class GoneError(FailedError):
    """The server does not know the version any more: everything has to be listed again."""


class AbsentError(FailedError):
    """The server does not serve this kind, or has no object of this name."""


class ConflictError(FailedError):
    """The object has changed since it was read, or there is one of this name already."""


class InvalidError(FailedError):
    """The server will never take that, or not for the object that has the name now."""


_T = TypeVar("_T")


class WatchedKind(msgspec.Struct, frozen=True):
    """A kind of objects, where the API server has them, and which are wanted: `without` these labels, with `fields`.

    `base` is what is read of one. An `optional` kind may not be served.
    """

    name: str
    base: type[Any]
    plural: str
    group: str = ""
    version: str = "v1"
    is_namespaced: bool = True
    without: tuple[str, ...] = ()
    fields: dict[str, str] | None = None
    optional: bool = False

    @property
    def resource(self) -> type[Any]:
        """Return the class of the client library."""
        place = resource.ResourceDef(self.group, self.version, self.name)
        scope: type[resource.Resource] = resource.GlobalResource
        verbs = ["list", "watch"]
        if self.is_namespaced:
            scope, verbs = resource.NamespacedResourceG, ["get", "global_list", "global_watch"]
        known = {"_api_info": resource.ApiInfo(place, self.plural, verbs)}
        return types.new_class(
            self.name, (self.base, scope), {"frozen": True, "gc": True}, lambda own: own.update(known)
        )

    @property
    def selection(self) -> dict[str, Any]:
        """Return the client's arguments for those that are wanted."""
        everywhere = {"namespace": "*"} if self.is_namespaced else {}
        labels = {name: operators.not_exists() for name in self.without} or None
        return {"labels": labels, "fields": self.fields, **everywhere}


class _Transport(httpx2.AsyncHTTPTransport):
    """Asks for bookmarks, which the library cannot, and tells the end of a watch, after which it would ask at once."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        watches = request.url.params.get("watch") == "true"
        if watches:
            request.url = request.url.copy_add_param("allowWatchBookmarks", "true")
        response = await super().handle_async_request(request)
        if watches and response.status_code == httpx2.codes.OK:
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = _Watched(response.stream)
        return response


class _Watched(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._inner:
            yield part
        raise httpx2.RemoteProtocolError("the server ended the watch")

    async def aclose(self) -> None:
        await self._inner.aclose()


class ApiServer:
    """The API server. For one event loop."""

    def __init__(self, config: kubeconfig.SingleConfig) -> None:
        assert config.user is not None
        trust = client_adapter.verify_cluster(config.cluster, config.user, config.abs_file, trust_env=False)
        transport = _Transport(verify=trust, socket_options=_KEEPALIVE)
        self._client = async_client.AsyncClient(config, timeout=_TIMEOUT, trust_env=False, transport=transport)
        self._resources: dict[str, type[Any]] = {}

    async def list(self, kind: WatchedKind, put: Callable[[Any], None]) -> str:
        """Have `put` take each object, and return the version of the list. Raises FailedError."""
        found = self._client.list(self._resource(kind), chunk_size=_CHUNK, **kind.selection)
        try:
            async for each in found:
                put(each)
            return found.resourceVersion
        except Exception as error:
            raise _failed(f"listing {kind.name}s", error) from error

    async def watch(self, kind: WatchedKind, version: str) -> AsyncIterator[tuple[str, Any]]:
        """Yield what has happened since the version, and bookmarks. Ends with FailedError, and never without."""
        found = self._client.watch(
            self._resource(kind), resource_version=version, server_timeout=_WATCH, **kind.selection
        )
        try:
            async for what, each in found:
                yield what, each
        except Exception as error:
            raise _failed(f"watching {kind.name}s", error) from error

    async def get(self, kind: WatchedKind, namespace: str, name: str) -> Any:
        """Return one object of a kind that is watched, by checked names. Raises FailedError, AbsentError as `read`."""
        return await self.read(self._resource(kind), name, namespace)

    async def read(self, resource: type[_T], name: str, namespace: str | None = None) -> _T:
        """Return one object. Raises FailedError, or AbsentError if there is none."""
        with _failing(f"getting {_called(resource, name, namespace)}"):
            found: _T = await self._client.get(resource, name, namespace=namespace)  # type: ignore[type-var]
            return found

    async def create(self, wanted: _T) -> _T:
        """Return the object as the server keeps it. Raises FailedError."""
        with _failing(f"creating a {type(wanted).__name__}"):
            made: _T = await self._client.create(wanted)  # type: ignore[call-overload]
            return made

    async def replace(self, wanted: _T, name: str) -> _T:
        """Return the object as the server keeps it. Raises FailedError, ConflictError if it is not what was read."""
        with _failing(f"writing {_called(type(wanted), name)}"):
            kept: _T = await self._client.replace(wanted, name)  # type: ignore[call-overload]
            return kept

    async def apply(
        self, resource: type[Any], name: str, namespace: str, fields: Mapping[str, Any], manager: str
    ) -> None:
        """Make these the object's fields of the manager, also if another has them, by server-side apply; fields that it
        had before and that are left out go. Raises FailedError, AbsentError, InvalidError."""
        info = resource._api_info.resource
        told = {"apiVersion": info.api_version, "kind": info.kind, **fields}
        with _failing(f"applying to {_called(resource, name, namespace)}"):
            await self._client.patch(
                resource, name, told, namespace=namespace, patch_type=PatchType.APPLY, field_manager=manager, force=True
            )

    async def delete(self, resource: type[Any], name: str) -> None:
        """Delete one object; one that is gone already is no failure. Raises FailedError."""
        with contextlib.suppress(AbsentError), _failing(f"deleting {_called(resource, name)}"):
            await self._client.delete(resource, name)

    def _resource(self, kind: WatchedKind) -> type[Any]:
        return self._resources.get(kind.name) or self._resources.setdefault(kind.name, kind.resource)

    async def aclose(self) -> None:
        await self._client.close()


def _called(resource: type[Any], name: str, namespace: str | None = None) -> str:
    return f"{resource.__name__} {namespace}/{name}" if namespace else f"{resource.__name__} {name}"


@contextlib.contextmanager
def _failing(doing: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise _failed(doing, error) from error


def configuration(path: pathlib.Path | None, account: pathlib.Path) -> kubeconfig.SingleConfig:
    """Return where the API server is and who asks: of a kubeconfig, or of this pod. Raises SriovError."""
    try:
        if path is None:
            found = kubeconfig.KubeConfig.from_service_account(account).get()
        else:
            found = kubeconfig.KubeConfig.from_file(path).get()
    except KeyError as error:
        raise errors.SriovError(
            f"the API server cannot be found: {error} is not there", "run in a pod, or name a kubeconfig"
        ) from error
    except Exception as error:  # whatever the library finds wrong with the files
        raise errors.SriovError(
            f"{path or account} does not say how to reach the API server: {error}",
            "mount the service account's token there, or name a kubeconfig",
        ) from error
    assert found is not None
    return found._replace(user=found.user or models.User())


def _failed(doing: str, error: Exception) -> FailedError:
    if isinstance(error, httpx2.HTTPStatusError):
        return _refused(doing, error)
    text = f"{doing}: {error or type(error).__name__}"
    if isinstance(error, httpx2.RemoteProtocolError | httpx2.ReadError):
        return EndedError(text)
    return FailedError(text, "is the API server reachable from this node?")


def _refused(doing: str, error: httpx2.HTTPStatusError) -> FailedError:
    if isinstance(error, exceptions.ApiError) and error.status is not None:
        code, said = error.status.code or 0, error.status.message or error.status.reason
        pause = error.status.details.retryAfterSeconds if error.status.details else None
    else:
        code, said, pause = error.response.status_code, "", None
    text = f"{doing}: the API server answers {code}{f' ({said})' if said else ''}"
    if code == httpx2.codes.GONE:
        return GoneError(text)
    if code == httpx2.codes.NOT_FOUND:
        return AbsentError(text)
    if code == httpx2.codes.CONFLICT:
        return ConflictError(text)
    if code == httpx2.codes.UNPROCESSABLE_CONTENT:
        return InvalidError(text)
    remedy = "may its service account do that?" if code in (401, 403) else ""
    return FailedError(text, remedy, max(float(pause or 0), _retry_after(error)))


def _retry_after(error: httpx2.HTTPStatusError) -> float:
    response: httpx2.Response | None = getattr(error, "response", None)
    said = response.headers.get("Retry-After", "") if response is not None else ""
    return float(said) if said.isdecimal() else 0.0
