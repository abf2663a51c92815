"""View of the cluster: the objects that were seen, and the table of Services that follows from them. Pure.

Only Services that an event touched are compiled again: a change of one endpoint costs the same in a large cluster. In
between objects are kept encoded, which takes a fifth of the memory.
"""

import ipaddress
import sys
from collections.abc import Callable, Iterator

import msgspec

from sriov.cluster import services
from sriov_agent import compiling, endpoints, objects
from sriov_agent.endpoints import Here, Key

_ADDRESSES = ("InternalIP", "ExternalIP")
"""Addresses of a node that its NodePorts are at (core/v1, NodeAddressType)."""

_encode = msgspec.msgpack.Encoder().encode
_SERVICE = msgspec.msgpack.Decoder(objects.ServiceObject)
_SLICE = msgspec.msgpack.Decoder(endpoints.CompactSlice)


class View:
    def __init__(self, node: str, complain: Callable[[str], None]) -> None:
        self._complain = complain
        self._here = Here(node)
        self._services: dict[Key, bytes] = {}
        self._slices: dict[Key, dict[Key, bytes]] = {}  # by Service, then by their own names
        self._owners: dict[Key, Key] = {}  # of slices
        self._cidrs: dict[str, tuple[str, ...]] = {}
        self._ranges: tuple[str, ...] = ()
        self._touched: set[Key] = set()
        self._compiled: dict[Key, tuple[services.Service, ...]] = {}
        self._claims: dict[services.Frontend, tuple[Key, ...]] = {}
        self.table: dict[services.Frontend, services.Service] = {}

    def put(self, seen: objects.AnyObject) -> None:
        """Take note of an object that is new or changed."""
        match seen:
            case objects.ServiceObject():
                key = _interned(seen.metadata.key)
                self._services[key] = _encode(seen)
                self._touched.add(key)
            case objects.SliceObject():
                self._put_slice(seen)
            case objects.NodeObject():
                self._put_node(seen)
            case objects.RangeObject():
                self._cidrs[seen.metadata.name] = seen.spec.cidrs

    def remove(self, kind: type[objects.AnyObject], key: Key) -> None:
        """Take note that an object is gone. A Node that is gone is as it was last: its pods still run."""
        if kind is objects.ServiceObject:
            self._services.pop(key, None)
            self._touched.add(key)
        elif kind is objects.SliceObject:
            self._drop_slice(key)
        elif kind is objects.RangeObject:
            self._cidrs.pop(key[1], None)

    def only(self, kind: type[objects.AnyObject], keys: set[Key]) -> None:
        """Remove what a complete list does not have."""
        known: dict[type[objects.AnyObject], set[Key]] = {
            objects.ServiceObject: set(self._services),
            objects.SliceObject: set(self._owners),
            objects.RangeObject: {("", name) for name in self._cidrs},
        }
        for key in known.get(kind, set()) - keys:
            self.remove(kind, key)

    def absent(self, kind: type[objects.AnyObject]) -> None:
        """Remove all of a kind that the API server does not serve."""
        self.only(kind, set())

    def counts(self) -> dict[str, int]:
        return {"Service": len(self._services), "EndpointSlice": len(self._owners), "ServiceCIDR": len(self._cidrs)}

    def whole(self) -> services.TableChange:
        """Return the table as it is now, with what has been noted since the last change."""
        self.change()
        return services.TableChange(tuple(self.table.values()), whole=True, ranges=self._ranges)

    def change(self) -> services.TableChange:
        """Bring the table up to date, and return what has changed in it."""
        touched, self._touched = self._touched, set()
        frontends: set[services.Frontend] = set()
        for key in touched:
            frontends |= self._compile(key)
        new, gone = [], []
        for frontend in sorted(frontends):
            service, before = self._winner(frontend), self.table.get(frontend)
            if service is None:
                gone.append(frontend)
                del self.table[frontend]
            elif service != before:
                new.append(service)
                self.table[frontend] = service
        return services.TableChange(tuple(new), tuple(gone), ranges=self._new_ranges())

    def _put_slice(self, seen: objects.SliceObject) -> None:
        key, name = _interned(seen.metadata.key), seen.metadata.labels.service_name
        self._drop_slice(key)
        found = endpoints.compact(seen, self._complain) if name else None
        if name and found is not None and not compiling.labelled(seen.metadata):
            owner = _interned((key[0], name))
            self._owners[key] = owner
            self._slices.setdefault(owner, {})[key] = _encode(found)
            self._touched.add(owner)

    def _drop_slice(self, key: Key) -> None:
        owner = self._owners.pop(key, None)
        if owner is not None:
            self._touched.add(owner)
            del self._slices[owner][key]
            if not self._slices[owner]:
                del self._slices[owner]

    def _put_node(self, seen: objects.NodeObject) -> None:
        if seen.metadata.name != self._here.node:
            return
        addresses = tuple(each.address for each in seen.status.addresses if each.type in _ADDRESSES)
        here = Here(seen.metadata.name, seen.metadata.labels.zone or "", addresses)
        if here != self._here:
            self._here = here
            self._touched |= self._services.keys()

    def _compile(self, key: Key) -> set[services.Frontend]:
        """Compile a Service, and return the frontends that it has or had."""
        made = tuple(self._services_of(key))
        before = {each.frontend for each in self._compiled.pop(key, ())}
        after = {each.frontend for each in made}
        if made:
            self._compiled[key] = made
        for frontend in before - after:
            self._claim(frontend, [each for each in self._claims[frontend] if each != key])
        for frontend in after - before:
            self._claim(frontend, [*self._claims.get(frontend, ()), key])
        return before | after

    def _services_of(self, key: Key) -> Iterator[services.Service]:
        if (told := self._services.get(key)) is None:
            return
        slices = self._slices.get(key, {})
        ordered = [_SLICE.decode(slices[name]) for name in sorted(slices)]
        yield from compiling.compiled(_SERVICE.decode(told), ordered, self._here, self._complain)

    def _claim(self, frontend: services.Frontend, keys: list[Key]) -> None:
        if len(keys) > 1:
            names = " and ".join("/".join(key) for key in sorted(keys))
            self._complain(
                f"{frontend.address}, port {frontend.port} {frontend.protocol} is claimed by Services {names}:"
                " the one whose ClusterIP it is gets it, else the first"
            )
        self._claims[frontend] = tuple(sorted(keys, key=lambda key: (not self._is_own(key, frontend), key)))
        if not keys:
            del self._claims[frontend]

    def _is_own(self, key: Key, frontend: services.Frontend) -> bool:
        """Report whether it is a ClusterIP of the Service: each is one Service's, other addresses anybody's."""
        told = self._services.get(key)
        return told is not None and frontend.address in compiling.cluster_ips(_SERVICE.decode(told))

    def _winner(self, frontend: services.Frontend) -> services.Service | None:
        keys = self._claims.get(frontend)
        if keys is None:
            return None
        return next(each for each in self._compiled[keys[0]] if each.frontend == frontend)

    def _new_ranges(self) -> tuple[str, ...] | None:
        found = {network for cidrs in self._cidrs.values() for cidr in cidrs if (network := _network(cidr))}
        ranges, before = tuple(sorted(found)), self._ranges
        self._ranges = ranges
        return None if ranges == before else ranges


def _interned(key: Key) -> Key:
    """Return the key with strings that all who have the same share: there are tens of thousands."""
    return sys.intern(key[0]), sys.intern(key[1])


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return ""
