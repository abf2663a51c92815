"""Pods of users, as kubectl names and prints them. Pure."""

import ipaddress
from collections.abc import Mapping
from typing import Any

import click

_KINDS = ("pod/", "pods/", "po/")


def named(what: str, namespace: str | None) -> tuple[list[str], str]:
    """Return kubectl's flags for the namespace, and the pod's name. Raises click.UsageError."""
    if what.startswith("-"):
        raise click.UsageError(f"{what} stands before the pod: write options of sriovctl behind it")
    for kind in _KINDS:
        what = what.removeprefix(kind)
    inside, slash, name = what.rpartition("/")
    if slash and namespace not in (None, inside):
        raise click.UsageError(f"{what} is in namespace {inside}, and --namespace says {namespace}: leave one out")
    if ":" in what or "#" in what:
        raise click.UsageError(f"{what} is a device: name its node with --node")
    where = inside or namespace
    return [f"--namespace={where}"] if where else [], name


def peer(what: str, namespace: str | None) -> tuple[list[str], str]:
    """Return the same of a pod beside the one that a command is about, whose namespace may be another."""
    for kind in _KINDS:
        what = what.removeprefix(kind)
    return named(what, None if "/" in what else namespace)


def is_address(text: str) -> bool:
    """Report whether it is an IP address, and so no name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def addresses(pod: Mapping[str, Any]) -> list[str]:
    """Return the pod's addresses in the cluster's own network; none before it has some."""
    return [each["ip"] for each in pod.get("status", {}).get("podIPs", []) if "ip" in each]


def unplaced(pod: Mapping[str, Any]) -> str:
    """Return why the pod is on no node; "" if it is on one."""
    if pod["spec"].get("nodeName"):
        return ""
    conditions = pod.get("status", {}).get("conditions", [])
    reasons = [each.get("message", "") for each in conditions if each.get("type") == "PodScheduled"]
    name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
    told = next(filter(None, reasons), "the scheduler has not looked at it yet")
    return f"{name}: it is on no node: {told}; `kubectl sriov inventory` shows what each node has"
