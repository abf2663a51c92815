"""The API server, as a pod reaches it: JSON over HTTPS, with the token of its service account.

By the standard library: three kinds of request are no reason for a client library in the image.
"""

import http.client
import json
import os
import pathlib
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping

from sriov import errors
from sriov_installer.cluster import rollouts

ACCOUNT = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Folder in which the kubelet puts token, authority and namespace (kubernetes.io, "Accessing the Kubernetes API")."""
_PATIENCE = 30.0  # seconds for one answer
_PAGE = 50  # objects, of up to some hundred kilobytes each; the job may have 128 MB


class ApiError(errors.SriovError):
    """The API server refuses, or does not answer."""


class Api:
    """Objects of one namespace, and pods and claims of all. Methods raise ApiError."""

    def __init__(self, url: str, account: pathlib.Path = ACCOUNT) -> None:
        self._url = url
        try:
            self._token, self._namespace = ((account / name).read_text().strip() for name in ("token", "namespace"))
            context = ssl.create_default_context(cafile=str(account / "ca.crt")) if url.startswith("https:") else None
        except OSError as error:
            raise ApiError(
                f"{account} cannot be used: {error}", "run this in a pod that has a service account"
            ) from error
        # No proxy: the API server is in the cluster. It redirects nobody, and the token is for it alone.
        https = [] if context is None else [urllib.request.HTTPSHandler(context=context)]
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects(), *https)

    def daemonset(self, name: str) -> rollouts.Object:
        return self._ask("GET", self._daemonset(name))

    def patch_daemonset(self, name: str, operations: list[rollouts.Object]) -> None:
        self._ask("PATCH", self._daemonset(name), operations, "application/json-patch+json")

    def pods(self) -> Iterator[rollouts.Object]:
        return self._listed("/api/v1/pods")

    def claims(self) -> Iterator[rollouts.Object]:
        return self._listed("/apis/resource.k8s.io/v1/resourceclaims")

    def _listed(self, path: str) -> Iterator[rollouts.Object]:
        following: str | None = ""
        while following is not None:
            asked = urllib.parse.urlencode({"limit": _PAGE, "continue": following})
            page = self._ask("GET", f"{path}?{asked}")
            yield from page["items"]
            following = page["metadata"].get("continue") or None

    def _daemonset(self, name: str) -> str:
        return f"/apis/apps/v1/namespaces/{self._namespace}/daemonsets/{name}"

    def _ask(self, method: str, path: str, body: object = None, kind: str = "application/json") -> rollouts.Object:
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json", "Content-Type": kind}
        sent = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, sent, headers, method=method)  # noqa: S310 (the cluster's)
        try:
            with self._opener.open(request, timeout=_PATIENCE) as answer:
                read = json.load(answer)
        except urllib.error.HTTPError as error:
            raise ApiError(f"{method} {path}: {_reason(error)}", "see the Role of this job") from error
        except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
            raise ApiError(f"{method} {path}: no answer from {self._url}: {error}") from error
        if not isinstance(read, dict):
            raise ApiError(f"{method} {path}: the answer from {self._url} is no object")
        return read


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Takes a redirection for the refusal that it is here."""

    def redirect_request(self, *_: object) -> None:
        return None


def _reason(error: urllib.error.HTTPError) -> str:
    """Return the message of a Status, or the code for anything else."""
    try:
        return f"{error.code} {json.loads(error.read())['message']}"
    except (KeyError, TypeError, ValueError):
        return f"{error.code} {error.reason}"


def address(environment: Mapping[str, str] = os.environ) -> str:
    """Return the API server's URL, which each pod has in its environment. Raises ApiError."""
    try:
        host, port = environment["KUBERNETES_SERVICE_HOST"], environment["KUBERNETES_SERVICE_PORT"]
    except KeyError as error:
        raise ApiError(f"{error.args[0]} is not set", "run this in a pod, or give --api-server") from error
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
