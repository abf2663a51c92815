"""The kernel understands what is said of a VF's GUIDs: it looks for the driver's function, which no netdev here has."""

import contextlib
import errno
import subprocess

import pytest

from sriov import errors, settings
from sriov.linux import netlink
from tests.kernel import namespaces


def test_both_guids_are_well_formed() -> None:
    """A message that is not is EINVAL or ERANGE; EOPNOTSUPP comes after it. Nothing that can be simulated has GUIDs."""
    wanted = settings.VfSettings(guid="02:00:00:00:cc:00:00:01")
    opened = contextlib.closing(netlink.Netlink())
    with namespaces.made("guids") as pod, opened as net, net.inside(pod.handle) as inner:
        subprocess.run(["ip", "-n", pod.name, "link", "add", "v0", "type", "veth"], check=True)
        with pytest.raises(errors.KernelError) as refused:
            inner.set_vf(inner.link("v0").index, 0, wanted, {settings.Setting.GUID})
        assert refused.value.errno == errno.EOPNOTSUPP
