"""The host's hop: a Service by way of the pod's host and its kube-proxy, which pods on VFs use that have nothing else.

A veth leads from the pod to the host, whose rules choose the backend and masquerade: otherwise the answer would go
another way.
"""

import contextlib
import subprocess

from tests.kernel import kube_proxy, namespaces

MODES = (kube_proxy.Mode.IPTABLES, kube_proxy.Mode.NFTABLES)


def made(
    stack: contextlib.ExitStack,
    mode: kube_proxy.Mode,
    pod: namespaces.Namespace,
    far: namespaces.Namespace,
    backend: tuple[str, int],
) -> tuple[str, int]:
    """Put a host between the pod and the backend's place until the stack ends; returns the Service that it has."""
    number = MODES.index(mode)
    host, service = stack.enter_context(namespaces.made("host")), (f"10.96.254.{number}", 80)
    for name, other, network in (("pod", pod, f"10.251.{number}"), ("far", far, f"10.252.{number}")):
        _ip(
            host,
            f"link add {name} type veth peer name hop{number} netns {other.name}",
            f"address add {network}.1/24 dev {name}",
            f"link set {name} up",
        )
        _ip(other, f"address add {network}.2/24 dev hop{number}", f"link set hop{number} up")
    _ip(host, f"route add {backend[0]} via 10.252.{number}.2")
    _ip(pod, f"route add {service[0]} via 10.251.{number}.1")
    subprocess.run(["ip", "netns", "exec", host.name, "sysctl", "-q", "net.ipv4.ip_forward=1"], check=True)
    kube_proxy.install(mode, host, service, backend)
    return service


def _ip(where: namespaces.Namespace, *orders: str) -> None:
    subprocess.run(["ip", "-n", where.name, "-batch", "-"], input="\n".join(orders).encode(), check=True)
