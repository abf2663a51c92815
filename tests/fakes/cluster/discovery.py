"""API discovery of the stand-in API server: versions, groups, resources.

Of OpenAPI it has one thing: a patch takes `fieldValidation`, so that kubectl leaves the check to the server.
"""

from tests.fakes.cluster import kinds
from tests.fakes.cluster.kinds import Kind, Object


def found(path: list[str]) -> Object | None:
    """Return the document at this path, if it is one of these."""
    match path:
        case ["version"]:
            major, minor = kinds.VERSION.split(".")
            return {"major": major, "minor": minor, "gitVersion": f"v{kinds.VERSION}.0"}
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"]}
        case ["apis"]:
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(api) for api in kinds.APIS[1:]]}
        case ["openapi", "v3"]:
            return {"paths": {place(api): {"serverRelativeURL": f"/openapi/v3/{place(api)}"} for api in kinds.APIS}}
    about = _resources if path[0] in ("api", "apis") else _openapi
    return next((about(api) for api in kinds.APIS if place(api).split("/") in (path, path[2:])), None)


def place(api: str) -> str:
    """Return the path of the API's objects."""
    return f"apis/{api}" if "/" in api else f"api/{api}"


def _group(api: str) -> Object:
    group, _, version = api.partition("/")
    one = {"groupVersion": api, "version": version}
    return {"name": group, "versions": [one], "preferredVersion": one}


def _resources(api: str) -> Object:
    found = [_resource(kind) for kind in kinds.ALL if kind.api == api]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api, "resources": found}


def _resource(kind: Kind) -> Object:
    names = {"kind": kind.name, "name": kind.plural, "singularName": kind.name.lower()}
    verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
    return {**names, "namespaced": kind.namespaced, "verbs": verbs}


def _openapi(api: str) -> Object:
    listed = [kind for kind in kinds.ALL if kind.api == api]
    paths = {f"/{place(api)}/{each.plural}/{{name}}": {"patch": _patch(each)} for each in listed}
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": kinds.VERSION}, "paths": paths}


def _patch(kind: Kind) -> Object:
    group, _, version = kind.api.rpartition("/")
    which = {"group": group, "version": version, "kind": kind.name}
    takes = [{"name": "fieldValidation", "in": "query"}]
    return {"parameters": takes, "x-kubernetes-group-version-kind": which, "responses": {}}
