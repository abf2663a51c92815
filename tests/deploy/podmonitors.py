"""What prometheus-operator makes of a PodMonitor: Prometheus' scrape configurations. Pure.

The relabelling is the operator's own, in its order (prometheus-operator, generatePodMonitorConfig in
pkg/prometheus/promcfg.go, and EnforcedNamespaceLabelOnExcludedPodMonitor_Expected.golden in its testdata). Fields are
those of its API (Documentation/api-reference/api.md, PodMetricsEndpoint); one that is not translated is refused.
"""

import pathlib
from collections.abc import Mapping

from tests.deploy import podtargets
from tests.deploy.rendering import Object

Secrets = Mapping[tuple[str, str], pathlib.Path]
"""Files with what Secrets and ConfigMaps hold, by name and key: the operator mounts or copies it."""

_ENDPOINT = {"port", "path", "scheme", "honorLabels", "interval", "authorization", "tlsConfig", "relabelings"}


def scrape_configs(monitor: Object, secrets: Secrets, discovery: Object) -> list[Object]:
    """One for each endpoint, with this discovery in the place of Kubernetes'.

    Raises ValueError for what is not translated, and KeyError for a Secret that is not there.
    """
    known(monitor, {"apiVersion", "kind", "metadata", "spec"})
    known(monitor["spec"], {"selector", "podMetricsEndpoints"})
    if (monitor["apiVersion"], monitor["kind"]) != ("monitoring.coreos.com/v1", "PodMonitor"):
        raise ValueError(f"{monitor['kind']} of {monitor['apiVersion']}")
    endpoints = monitor["spec"]["podMetricsEndpoints"]
    return [_config(monitor, number, each, secrets) | discovery for number, each in enumerate(endpoints)]


def known(found: Object, keys: set[str]) -> None:
    if unknown := set(found) - keys:
        raise ValueError(f"not translated: {sorted(unknown)}")


def _config(monitor: Object, number: int, endpoint: Object, secrets: Secrets) -> Object:
    known(endpoint, _ENDPOINT)
    namespace, name = (monitor["metadata"][key] for key in ("namespace", "name"))
    made: Object = {
        "job_name": f"podMonitor/{namespace}/{name}/{number}",
        "honor_labels": endpoint.get("honorLabels", False),
        "metrics_path": endpoint.get("path", "/metrics"),
        "scheme": endpoint.get("scheme", "http"),
        "relabel_configs": [
            *_operators(monitor, endpoint["port"]),
            *(_relabelling(each) for each in endpoint.get("relabelings", [])),
        ],
    }
    if "interval" in endpoint:
        made["scrape_interval"] = endpoint["interval"]
    if "tlsConfig" in endpoint:
        made["tls_config"] = _tls(endpoint["tlsConfig"], secrets)
    if "authorization" in endpoint:
        known(endpoint["authorization"], {"type", "credentials"})
        credentials = endpoint["authorization"]["credentials"]
        file = secrets[credentials["name"], credentials["key"]]
        made["authorization"] = {"type": endpoint["authorization"]["type"], "credentials": file.read_text()}
    return made


def _operators(monitor: Object, port: str) -> list[Object]:
    namespace, name = (monitor["metadata"][key] for key in ("namespace", "name"))
    meta = "__meta_kubernetes_pod"
    known(monitor["spec"]["selector"], {"matchLabels"})
    return [
        {"source_labels": ["job"], "target_label": "__tmp_prometheus_job_name"},
        {"action": "drop", "source_labels": [f"{meta}_phase"], "regex": "(Failed|Succeeded)"},
        *(
            {
                "action": "keep",
                "source_labels": [
                    f"{meta}_label_{podtargets.safe(key)}",
                    f"{meta}_labelpresent_{podtargets.safe(key)}",
                ],
                "regex": f"({value});true",
            }
            for key, value in monitor["spec"]["selector"]["matchLabels"].items()
        ),
        {"action": "keep", "source_labels": [f"{meta}_container_port_name"], "regex": port},
        {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
        {"source_labels": [f"{meta}_container_name"], "target_label": "container"},
        {"source_labels": [f"{meta}_name"], "target_label": "pod"},
        {"target_label": "job", "replacement": f"{namespace}/{name}"},
        {"target_label": "endpoint", "replacement": port},
    ]


_KEYS = {"sourceLabels": "source_labels", "targetLabel": "target_label", "replacement": "replacement"}


def _relabelling(declared: Object) -> Object:
    known(declared, set(_KEYS))
    return {_KEYS[key]: value for key, value in declared.items()}


def _tls(declared: Object, secrets: Secrets) -> Object:
    known(declared, {"insecureSkipVerify", "ca", "serverName"})
    made: Object = {"insecure_skip_verify": declared.get("insecureSkipVerify", False)}
    if "ca" in declared:
        [(_, key)] = declared["ca"].items()
        made["ca_file"] = str(secrets[key["name"], key["key"]])
    if "serverName" in declared:
        made["server_name"] = declared["serverName"]
    return made
