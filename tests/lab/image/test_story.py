"""The story from the built artefacts: containers as the DaemonSet declares them, and the shim that they install."""

import pytest

from hack.story import story, terminal
from tests.lab.image import nodes


@pytest.mark.usefixtures("runtime")
def test_the_init_container_has_put_the_shim_where_the_runtime_looks() -> None:
    """Nothing is beside it: it was renamed there, so that no runtime ever finds half of it."""
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
