"""F14: whether a real namespace is gone, asked without holding it (root)."""

import contextlib
import os
import pathlib
import subprocess

import pytest

from sriov.linux import netns, nsid
from tests.kernel import namespaces

pytestmark = pytest.mark.root


def gone(known: nsid.Mark, handle: netns.Netns) -> bool:
    """Close what holds it, and let the kernel take it apart."""
    handle.close()
    return namespaces.until(lambda: nsid.is_gone(known))


def marked(pod: netns.Netns) -> nsid.Mark:
    known = nsid.mark(pod)
    assert known is not None
    assert not nsid.is_gone(known)
    return known


def test_a_mark_holds_nothing_and_tells_the_living_from_the_dead() -> None:
    with namespaces.made("pod") as pod:
        before = namespaces.open_descriptors()
        known = marked(pod.handle)
        assert marked(pod.handle) == known, "a second VF of the same pod"
        assert namespaces.open_descriptors() == before
        subprocess.run(["ip", "netns", "del", pod.name], check=True)
        assert not nsid.is_gone(known), "a descriptor keeps it alive, though nothing leads to it any more"
        assert gone(known, pod.handle)


def test_a_process_alone_keeps_it_alive() -> None:
    with contextlib.ExitStack() as stack:
        pod = stack.enter_context(namespaces.made("pod"))
        known = marked(pod.handle)
        command = ["ip", "netns", "exec", pod.name, "sh", "-c", "echo; exec cat"]
        process = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        assert process.stdout
        process.stdout.readline()
        subprocess.run(["ip", "netns", "del", pod.name], check=True)
        pod.handle.close()
        assert not nsid.is_gone(known)
        process.communicate()
        assert namespaces.until(lambda: nsid.is_gone(known))


def test_another_namespace_with_its_number_is_not_it() -> None:
    """In a home of its own, whose numbers nobody else takes."""
    with contextlib.ExitStack() as stack:
        home, pod, following = (stack.enter_context(namespaces.made(name)) for name in ("home", "pod", "next"))
        stack.enter_context(netns.entered(home.handle))
        known = marked(pod.handle)
        subprocess.run(["ip", "netns", "del", pod.name], check=True)
        assert gone(known, pod.handle)
        number = ["ip", "netns", "set", following.name, str(known.number)]
        # The dead answers to its number no more as soon as nobody holds it, and has it until it is taken apart.
        assert namespaces.until(lambda: subprocess.run(number, check=False, capture_output=True).returncode == 0)
        assert nsid.is_gone(known), "unmarked"
        other = marked(following.handle)
        assert other.number == known.number
        assert nsid.is_gone(known), "marked as itself"


def test_a_pod_with_a_veth_has_numbers_already() -> None:
    with namespaces.made("home") as home, namespaces.made("pod") as pod:
        veth = ["link", "add", "veth0", "type", "veth", "peer", "name", "eth0", "netns", pod.name]
        subprocess.run(["ip", "-n", home.name, *veth], check=True)
        subprocess.run(["ip", "-n", pod.name, "link", "show"], check=True, capture_output=True)
        with netns.entered(home.handle):
            known = marked(pod.handle)
        assert not nsid.is_gone(known), "asked from another namespace than it was made in: nothing is known"
        with netns.entered(home.handle):
            assert not nsid.is_gone(known)


def test_what_is_no_namespace_has_no_mark(tmp_path: pathlib.Path) -> None:
    with netns.Netns(os.open(tmp_path, os.O_RDONLY)) as folder:
        assert nsid.mark(folder) is None
