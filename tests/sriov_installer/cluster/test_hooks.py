"""`sriov-underlay cluster`, with the stand-in API server; tests/deploy/test_hooks.py has Helm start it."""

import json
import pathlib
import threading
from collections.abc import Iterator
from http import server
from typing import ClassVar

import pytest

from sriov import errors
from sriov_installer import __main__ as installer
from sriov_installer.cluster import api, hooks
from tests.deploy import rendering
from tests.fakes.cluster import apiserver, kinds, kubelets
from tests.fakes.cluster.objects import Objects


class NoKubelets:
    """Nothing runs on any node."""

    def started(self, pod: kinds.Object) -> dict[str, str]:
        raise NotImplementedError

    def stopped(self, pod: kinds.Object) -> None:
        raise NotImplementedError

    def said(self, pod: kinds.Object, container: str) -> str:
        raise NotImplementedError

    def run(self, pod: kinds.Object, container: str, command: list[str], sent: str) -> kubelets.Ended:
        raise NotImplementedError


@pytest.fixture
def account(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "token").write_text("secret")
    (tmp_path / "namespace").write_text("kube-system\n")
    return tmp_path


@pytest.fixture
def cluster(account: pathlib.Path) -> Iterator[tuple[Objects, list[str], list[apiserver.Asked]]]:
    """Objects, flags that lead there, and what was asked."""
    objects, asked = Objects(), list[apiserver.Asked]()
    objects.create(kinds.NAMESPACE, "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"}})
    objects.create(kinds.DAEMONSET, "kube-system", rendering.only(rendering.chart(), "DaemonSet"))
    with apiserver.serving(objects, NoKubelets(), asked) as url:
        yield objects, [f"--api-server={url}", f"--account={account}", "--timeout=0"], asked


def refused(*arguments: str) -> str:
    with pytest.raises(errors.SriovError) as error:
        hooks.main(arguments)
    return str(error.value)


def test_what_is_not_rolled_out_in_time_is_told(cluster: tuple[Objects, list[str], list[apiserver.Asked]]) -> None:
    _, flags, asked = cluster
    told = refused("ready", "--daemonset=sriov-underlay", *flags)
    assert (
        told == "after 0 s: sriov-underlay: its last change has not been seen yet; look at the pods that are not ready"
    )
    assert asked == [("secret", "GET", "/apis/apps/v1/namespaces/kube-system/daemonsets/sriov-underlay")]


def test_a_daemonset_for_no_node_is_told(cluster: tuple[Objects, list[str], list[apiserver.Asked]]) -> None:
    objects, flags, _ = cluster
    status = {"observedGeneration": 1, "currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0}
    there = objects.get(kinds.DAEMONSET, "kube-system", "sriov-underlay")
    objects.replace(kinds.DAEMONSET, "kube-system", {**there, "status": {**status, "numberMisscheduled": 0}})
    told = refused("ready", "--daemonset=sriov-underlay", *flags)
    assert told.startswith(
        "no node fits sriov-underlay; look at nodeSelector, affinity and nodeFeatureDiscovery.enabled"
    )


def test_a_node_that_is_down_keeps_every_shim(cluster: tuple[Objects, list[str], list[apiserver.Asked]]) -> None:
    objects, flags, asked = cluster
    status = {"observedGeneration": 1, "desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberReady": 1}
    status |= {"currentNumberScheduled": 2, "numberMisscheduled": 0}
    there = objects.get(kinds.DAEMONSET, "kube-system", "sriov-underlay")
    objects.replace(kinds.DAEMONSET, "kube-system", {**there, "status": {**status, "numberAvailable": 1}})
    told = refused("remove-shim", "--daemonset=sriov-underlay", *flags)
    assert told == (
        "after 0 s: sriov-underlay: 2 of 2 pods are the newest, 1 are ready; "
        "wait until every node is up, or remove the release with --no-hooks; nothing was changed"
    )
    assert {method for _, method, _ in asked} == {"GET"}


def test_a_claims_pod_keeps_every_shim(cluster: tuple[Objects, list[str], list[apiserver.Asked]]) -> None:
    objects, flags, asked = cluster
    result = {"request": "vf", "driver": "sriov-underlay", "pool": "n/intel.com/a", "device": "x"}
    objects.create(
        kinds.CLAIM,
        "kube-system",
        {
            "apiVersion": kinds.CLAIM.api,
            "kind": kinds.CLAIM.name,
            "metadata": {"name": "rails", "namespace": "kube-system"},
            "spec": {"devices": {"requests": [{"name": "vf", "exactly": {"deviceClassName": "rail-a"}}]}},
            "status": {
                "allocation": {"devices": {"results": [result]}},
                "reservedFor": [{"resource": "pods", "name": "train-0", "uid": "u"}],
            },
        },
    )
    told = refused("remove-shim", "--daemonset=sriov-underlay", "--driver=sriov-underlay", *flags)
    assert "kube-system/train-0 (claim rails); delete these pods first; nothing was changed" in told
    assert {method for _, method, _ in asked} == {"GET"}


def test_what_the_api_server_says_is_told(cluster: tuple[Objects, list[str], list[apiserver.Asked]]) -> None:
    told = refused("remove-shim", "--daemonset=sriov-underly", *cluster[1])
    assert '404 daemonsets.apps "sriov-underly" not found' in told


def test_an_api_server_that_is_not_there_is_told(account: pathlib.Path) -> None:
    told = refused("ready", "--daemonset=a", "--api-server=http://127.0.0.1:9", f"--account={account}")
    assert "no answer from http://127.0.0.1:9: " in told


def test_outside_a_pod_it_says_so(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(api.ApiError, match="KUBERNETES_SERVICE_HOST is not set; run this in a pod"):
        api.address({})
    assert (
        api.address({"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}) == "https://[fd00::1]:443"
    )
    url = ["--api-server=https://127.0.0.1:9", f"--account={tmp_path}"]
    assert installer.main(["cluster", "ready", "--daemonset=a", *url]) == 1
    assert f"sriov-underlay: {tmp_path} cannot be used: " in capsys.readouterr().err


class Paged(server.BaseHTTPRequestHandler):
    """Pods in two answers."""

    def do_GET(self) -> None:
        first = "continue=&" in f"{self.path}&"
        page = {"metadata": {"continue": "more"} if first else {}, "items": [{"n": 1 if first else 2}]}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(page).encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name there)
        """Log nothing."""


class Broken(server.BaseHTTPRequestHandler):
    """Answers as no API server does, by the name that is asked for."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        match self.path.rsplit("/", 1)[1]:
            case "cut":
                self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: 99\r\n\r\n{")
            case "garbage":
                self.wfile.write(b"\0\r\n\r\n")
            case "list":
                self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n[1]")
            case "nested":
                self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + b"[" * 100_000)
            case "elsewhere":
                self.wfile.write(b"HTTP/1.0 302 Found\r\nLocation: /cut\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name there)
        """Log nothing."""


@pytest.mark.parametrize("name", ["cut", "garbage", "list", "nested", "elsewhere"])
def test_an_answer_that_is_none_is_one_error_and_the_token_goes_nowhere_else(account: pathlib.Path, name: str) -> None:
    Broken.asked.clear()
    with server.ThreadingHTTPServer(("127.0.0.1", 0), Broken) as broken:
        thread = threading.Thread(target=broken.serve_forever, args=(0.05,))
        thread.start()
        try:
            url = f"http://127.0.0.1:{broken.server_address[1]}"
            refused("ready", f"--daemonset={name}", f"--api-server={url}", f"--account={account}")
        finally:
            broken.shutdown()
            thread.join()
    assert Broken.asked == [f"/apis/apps/v1/namespaces/kube-system/daemonsets/{name}"]


def test_pods_are_read_a_page_at_a_time(account: pathlib.Path) -> None:
    with server.HTTPServer(("127.0.0.1", 0), Paged) as pages:
        thread = threading.Thread(target=pages.serve_forever, args=(0.05,))
        thread.start()
        try:
            assert list(api.Api(f"http://127.0.0.1:{pages.server_address[1]}", account).pods()) == [{"n": 1}, {"n": 2}]
        finally:
            pages.shutdown()
            thread.join()
