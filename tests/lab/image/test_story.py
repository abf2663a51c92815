"""The story from the built artefacts: containers as the DaemonSet declares them, and the shim that they install."""

from hack.story import story, terminal
from tests.lab.image import nodes


def test_the_init_container_puts_the_shim_where_the_runtime_looks(node: nodes.Node) -> None:
    """By rename, so that no runtime ever finds half of it."""
    with node.running("install-shim") as again:
        assert again.wait(60) == 0, node.said("install-shim")
    assert [path.name for path in nodes.CNI.iterdir()] == ["sriov"]
    assert (nodes.CNI / "sriov").read_bytes().startswith(b"\x7fELF")


def test_the_whole_story_is_told_from_inside(node: nodes.Node) -> None:
    """What hack/demo tells of the checkout: found, registered, allocated, attached, pinged, lost, restored."""
    telling = story.Story(node.stage, node, terminal.Terminal())
    try:
        telling.tell()
    finally:
        print(node.logs())
    assert [name for name, value in telling.report.items() if value is False] == []
    assert telling.report["pods_attached"] == 4
