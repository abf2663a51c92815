"""Objects of the stand-in cluster: stored by name, with a version for each change, and watched.

It stores what it is sent. It does not know field owners: a server-side apply replaces the whole object except the
status.
"""

import copy
import dataclasses
import threading
import uuid
from collections.abc import Callable, Iterator

from tests.fakes.cluster import kinds
from tests.fakes.cluster.kinds import Kind, Object, RefusedError


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """A change. `what` is as in a watch: ADDED, MODIFIED, DELETED."""

    version: int
    what: str
    kind: Kind
    found: Object


class Objects:
    def __init__(self) -> None:
        self._found: dict[tuple[Kind, str, str], Object] = {}
        self._changes: list[Change] = []
        self._changed = threading.Condition(threading.RLock())
        self._closed = False

    @property
    def version(self) -> int:
        return len(self._changes)

    def listed(self, kind: Kind, namespace: str = "") -> list[Object]:
        """Return the objects, of all namespaces if none is named."""
        with self._changed:
            found = [each for (its, where, _), each in self._found.items() if its is kind and namespace in ("", where)]
            return copy.deepcopy(found)

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        """Raises RefusedError."""
        with self._changed:
            if (kind, namespace, name) in self._found:
                return copy.deepcopy(self._found[kind, namespace, name])
        group = "" if "/" not in kind.api else "." + kind.api.partition("/")[0]
        raise RefusedError(404, "NotFound", f'{kind.plural}{group} "{name}" not found')

    def create(self, kind: Kind, namespace: str, sent: Object) -> Object:
        """Raises RefusedError."""
        with self._changed:
            name = sent["metadata"].get("name") or ""
            if (kind, namespace, name) in self._found:
                raise RefusedError(409, "AlreadyExists", f'{kind.plural} "{name}" already exists')
            if kind.namespaced:
                self.get(kinds.NAMESPACE, "", namespace)
            stamped = {"uid": str(uuid.uuid4()), "creationTimestamp": "2026-01-01T00:00:00Z", "generation": 1}
            return self._keep("ADDED", kind, namespace, sent, stamped)

    def replace(self, kind: Kind, namespace: str, sent: Object) -> Object:
        """Replace the object: another spec is a new generation; the status stays. Raises RefusedError."""
        with self._changed:
            old = self.get(kind, namespace, sent["metadata"]["name"])
            stamped = {key: old["metadata"][key] for key in ("uid", "creationTimestamp", "generation")}
            stamped["generation"] += old.get("spec") != sent.get("spec")
            kept = {key: value for key, value in old.items() if key == "status"}
            return self._keep("MODIFIED", kind, namespace, kept | sent, stamped)

    def apply(self, kind: Kind, namespace: str, sent: Object) -> Object:
        """Apply on the server's side, with only one field manager. Raises RefusedError."""
        with self._changed:
            there = (kind, namespace, sent["metadata"]["name"]) in self._found
            return (self.replace if there else self.create)(kind, namespace, sent)

    def patch(self, kind: Kind, namespace: str, name: str, change: Callable[[Object], Object]) -> Object:
        """Change the object under the lock. Raises RefusedError."""
        with self._changed:
            return self.replace(kind, namespace, change(self.get(kind, namespace, name)))

    def delete(self, kind: Kind, namespace: str, name: str) -> Object:
        """Raises RefusedError."""
        with self._changed:
            found = self.get(kind, namespace, name)
            del self._found[kind, namespace, name]
            self._tell("DELETED", kind, found)
            return found

    def _keep(self, what: str, kind: Kind, namespace: str, sent: Object, stamped: Object) -> Object:
        found = copy.deepcopy(sent)
        found["metadata"] |= {**stamped, "resourceVersion": str(self.version + 1)}
        if kind.namespaced:
            found["metadata"]["namespace"] = namespace
        kind.check(found)
        self._found[kind, namespace, found["metadata"]["name"]] = found
        self._tell(what, kind, found)
        return copy.deepcopy(found)

    def _tell(self, what: str, kind: Kind, found: Object) -> None:
        self._changes.append(Change(self.version + 1, what, kind, copy.deepcopy(found)))
        self._changed.notify_all()

    def changes(self, since: int) -> Iterator[Change]:
        """Yield every change after that version, as it comes, until the store is closed."""
        while True:
            with self._changed:
                while not self._closed and self.version == since:
                    self._changed.wait()
                if self._closed:
                    return
                new = self._changes[since:]
            yield from new
            since += len(new)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
