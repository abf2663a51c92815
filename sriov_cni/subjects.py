"""What a call is about, for the log: taken from its environment by name, so that nothing else of it gets there."""

from sriov_cni import wire


def of(env: wire.Environment) -> dict[str, str]:
    """Also of a call whose environment cannot be meant: what cannot be read is left out."""
    pairs = (pair.partition("=") for pair in env.get("CNI_ARGS", "").split(";"))
    given = {key: value for key, _, value in pairs}
    found = {
        "command": env.get("CNI_COMMAND", ""),
        "namespace": given.get("K8S_POD_NAMESPACE", ""),
        "pod": given.get("K8S_POD_NAME", ""),
        "container_id": env.get("CNI_CONTAINERID", ""),
        "interface": env.get("CNI_IFNAME", ""),
    }
    return {key: value for key, value in found.items() if value}
