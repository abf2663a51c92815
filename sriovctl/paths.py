"""Paths of a node that sriovctl reads. Every one is an option, so that nothing has to be patched to test it."""

import pathlib

import msgspec


class Places(msgspec.Struct, frozen=True):
    """Paths; the defaults are those of the daemons' own flags."""

    sysfs: pathlib.Path = pathlib.Path("/sys")
    proc: pathlib.Path = pathlib.Path("/proc")
    dev: pathlib.Path = pathlib.Path("/dev")
    etc: pathlib.Path = pathlib.Path("/etc")
    boot: pathlib.Path = pathlib.Path("/boot")
    run: pathlib.Path = pathlib.Path("/run")
    run_dir: pathlib.Path = pathlib.Path("/run/sriov")
    config: pathlib.Path = pathlib.Path("/etc/pcidp/config.json")
    prefix: str = "intel.com"
    policy: pathlib.Path = pathlib.Path("/etc/sriov-underlay/policy.json")
    policies: pathlib.Path = pathlib.Path("/var/lib/sriov-underlay/policies")
    predecessor: pathlib.Path = pathlib.Path("/var/lib/cni/sriov")
    kubelet: pathlib.Path = pathlib.Path("/var/lib/kubelet")
    cni_bin: pathlib.Path = pathlib.Path("/opt/cni/bin")
    cni_conf: pathlib.Path = pathlib.Path("/etc/cni/net.d")
    image: pathlib.Path = pathlib.Path("/usr/share/sriov-underlay/sbom.cdx.json")

    @property
    def pod_resources(self) -> pathlib.Path:
        """The kubelet's own socket, which reports what each pod was given."""
        return self.kubelet / "pod-resources/kubelet.sock"

    @property
    def daemon_socket(self) -> pathlib.Path:
        return self.run_dir / "cni.sock"
