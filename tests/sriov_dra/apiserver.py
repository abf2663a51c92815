"""Stand-in for kube-apiserver with resource.k8s.io/v1: keeps ResourceSlices and the status of claims as the real one
does, and refuses what it refuses (rules.py, status_rules.py). It lets the driver do what its role allows, and nothing
else.
"""

import asyncio
import json
import re
import uuid
from collections.abc import Callable

from tests.sriov_agent import apiserver
from tests.sriov_agent.cluster import Json
from tests.sriov_dra import rules, status_rules

SLICES = "/apis/resource.k8s.io/v1/resourceslices"
_CLAIM = re.compile(r"/apis/resource\.k8s\.io/v1/namespaces/([^/]+)/resourceclaims/([^/]+)")
_STATUS = re.compile(_CLAIM.pattern + "/status")
_DRIVER = "sriov-underlay"
_APPLY = "application/apply-patch+yaml"
_SELECTABLE = {"metadata.name", "spec.driver", "spec.nodeName"}
"""Of a ResourceSlice (pkg/registry/resource/resourceslice/strategy.go, toSelectableFields)."""
_NAME_MAX = 58  # of what a name is generated from (apiserver pkg/storage/names/generate.go, MaxGeneratedNameLength)


class ApiServer(apiserver.StandIn):
    """`writes` has each write of a slice as verb and name, `refused` what was refused, with the reason. `statuses` are
    the claims' statuses as they were written, `owners` the managers of their fields by the claim's UID.

    `knows_taints` is the gate DRADeviceTaints: without it the server drops taints (strategy.go,
    dropDisabledDRADeviceTaintsFields). `node` is the only one that the driver may write slices of, as the chart's
    ValidatingAdmissionPolicy has it; "" for any. Without `checks` the rules are not applied.
    """

    def __init__(self, node: str = "") -> None:
        super().__init__()
        self.paths = {SLICES: "ResourceSlice"}
        self.node = node
        self.knows_taints = True
        self.checks = True
        self.writes: list[tuple[str, str]] = []
        self.statuses: list[Json] = []
        self.owners: dict[str, status_rules.Owners] = {}
        self.refused: list[str] = []
        self.before_write: Callable[[], None] = lambda: None

    @property
    def slices(self) -> list[Json]:
        return [each for key, each in sorted(self.objects.items()) if key[0] == "ResourceSlice"]

    async def wipe(self, node: str) -> None:
        """Delete the node's slices, as the kubelet does at its start (pkg/kubelet/cm/dra/plugin)."""
        for each in [each for each in self.slices if each["spec"].get("nodeName") == node]:
            await self.delete(each)

    def _unselectable(self, kind: str, options: dict[str, str]) -> str | None:
        asked = [part.partition("=")[0] for part in options.get("fieldSelector", "").split(",") if part]
        unknown = [each for each in asked if each not in _SELECTABLE]
        return f'field label not supported: "{unknown[0]}"' if unknown else None

    def _wanted(self, told: Json, options: dict[str, str]) -> bool:
        pairs = [part.partition("=") for part in options.get("fieldSelector", "").split(",") if part]
        return all(_value(told, key) == value for key, _, value in pairs)

    async def _one_object(
        self, writer: asyncio.StreamWriter, method: str, path: str, body: bytes, content: str
    ) -> bool:
        if method == "GET":
            return await self._get(writer, path)
        if method == "PATCH" and (claim := _STATUS.fullmatch(path)):
            return await self._apply(writer, ("ResourceClaim", claim[1], claim[2]), json.loads(body), content)
        if not path.startswith(SLICES):
            return await self._refuse(writer, 403, f"{method} {path} is not in the driver's role")
        self.before_write()
        name = path.removeprefix(SLICES).strip("/")
        if method == "DELETE":
            return await self._delete(writer, name)
        if content != "application/json" or method not in ("POST", "PUT"):
            return await self._refuse(writer, 415, f"{method} with {content}")
        told = json.loads(body)
        told.setdefault("kind", "")
        return await (self._create(writer, told) if method == "POST" else self._replace(writer, name, told))

    async def _get(self, writer: asyncio.StreamWriter, path: str) -> bool:
        claim = _CLAIM.fullmatch(path)
        node = path.removeprefix("/api/v1/nodes/")
        key = ("ResourceClaim", claim[1], claim[2]) if claim else ("Node", "", node)
        found = self.objects.get(key)
        if found is None:
            return await apiserver._refuse(writer, 404, f"{path} not found")
        await apiserver._send(writer, 200, found)
        return True

    async def _apply(self, writer: asyncio.StreamWriter, key: tuple[str, str, str], told: Json, content: str) -> bool:
        """A subresource is never created (apiserver pkg/endpoints/handlers/patch.go), and a UID never changed."""
        self.before_write()
        old, options = self.objects.get(key), self.asked[-1][2]
        if content != _APPLY:
            return await self._refuse(writer, 415, f"a status with {content}")
        if old is None:
            return await apiserver._refuse(writer, 404, f"{key[2]} not found")
        if not options.get("fieldManager"):
            return await self._refuse(writer, 422, "fieldManager is required for apply patch")
        uid, manager = old["metadata"]["uid"], options["fieldManager"]
        owners = dict(self.owners.get(uid, {}))
        force = options.get("force") == "true"
        try:
            status = status_rules.applied(old["status"], told["status"], manager, owners, force=force)
        except status_rules.ConflictError as error:
            return await self._refuse(writer, 409, str(error))
        problems = status_rules.refusals(status, old["status"], _DRIVER)
        if told["metadata"].get("uid", uid) != uid:
            problems.append("metadata.uid: field is immutable")
        if problems:
            return await self._refuse(writer, 422, "; ".join(problems))
        self.owners[uid] = owners
        self.statuses.append(status)
        await self.put({**old, "status": status})
        await apiserver._send(writer, 200, self.objects[key])
        return True

    async def _create(self, writer: asyncio.StreamWriter, told: Json) -> bool:
        metadata = told["metadata"]
        if not metadata.get("name"):
            metadata["name"] = metadata.pop("generateName")[:_NAME_MAX] + uuid.uuid4().hex[:5]
        if self._key(told) in self.objects:
            return await self._refuse(writer, 409, f"{metadata['name']} already exists")
        if problem := self._problem(told, None):
            return await self._refuse(writer, *problem)
        metadata["uid"], metadata["generation"] = str(uuid.uuid4()), 1
        return await self._keep(writer, "create", told, None)

    async def _replace(self, writer: asyncio.StreamWriter, name: str, told: Json) -> bool:
        old = self.objects.get(("ResourceSlice", "", name))
        if old is None:
            return await self._refuse(writer, 404, f"{name} not found")
        sent = told["metadata"].get("resourceVersion")
        if sent and sent != old["metadata"]["resourceVersion"]:  # without one an update is unconditional (types.go)
            return await self._refuse(writer, 409, "the object has been modified")
        if problem := self._problem(told, old):
            return await self._refuse(writer, *problem)
        changed = told["spec"] != old["spec"]
        told["metadata"] |= {"uid": old["metadata"]["uid"]}
        told["metadata"]["generation"] = old["metadata"]["generation"] + changed  # strategy.go, PrepareForUpdate
        return await self._keep(writer, "update", told, old)

    async def _delete(self, writer: asyncio.StreamWriter, name: str) -> bool:
        old = self.objects.get(("ResourceSlice", "", name))
        if old is None:
            return await self._refuse(writer, 404, f"{name} not found")
        if self.node and old["spec"].get("nodeName") != self.node:
            return await self._refuse(writer, 403, "a driver deletes its own node's slices only")
        self.writes.append(("delete", name))
        await self.delete(old)
        await apiserver._send(writer, 200, {"kind": "Status", "status": "Success"})
        return True

    def _problem(self, told: Json, old: Json | None) -> tuple[int, str] | None:
        if (told.get("apiVersion"), told["kind"]) != ("resource.k8s.io/v1", "ResourceSlice"):
            return 400, f"{told.get('apiVersion')} {told['kind']} is not what is served here"
        if self.node and told["spec"].get("nodeName") != self.node:
            return 403, "a driver writes its own node's slices only"
        found = rules.refusals(told, old) if self.checks else []
        return (422, "; ".join(found)) if found else None

    async def _keep(self, writer: asyncio.StreamWriter, verb: str, told: Json, old: Json | None) -> bool:
        in_use = any(each.get("taints") for each in (old or {"spec": {}})["spec"].get("devices", []))
        for device in told["spec"].get("devices", []):
            if not self.knows_taints and not in_use:
                device.pop("taints", None)
            for taint in device.get("taints", []):
                taint.setdefault("timeAdded", "2026-01-01T00:00:00Z")  # pkg/apis/resource/v1/defaults.go
        self.writes.append((verb, told["metadata"]["name"]))
        await self.put(told)
        await apiserver._send(writer, 201 if old is None else 200, told)
        return True

    async def _refuse(self, writer: asyncio.StreamWriter, code: int, message: str) -> bool:
        self.refused.append(f"{code} {message}")
        return await apiserver._refuse(writer, code, message)


def _value(told: Json, key: str) -> str:
    found: object = told
    for part in key.split("."):
        found = found.get(part, "") if isinstance(found, dict) else ""
    return str(found)
