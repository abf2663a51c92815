"""Verdict on a pod's membership in its cluster: Services, and the way to its node. Pure."""

from collections.abc import Iterator

from sriov_cni.spec.service_modes import ServicesMode
from sriovctl.checks.explaining.chain import ChainLink, Reply
from sriovctl.node import attachments, facts, snapshot

TROUBLE = "programs for Services"
"""Beginning of what the daemon says when they do not work (sriov_cni/dataplane/services.py, Translator.problems)."""


def of(found: facts.Facts, one: attachments.ListedAttachment) -> Iterator[ChainLink]:
    """Yield the steps of an attachment of ours that holds."""
    if one.state is not attachments.State.ATTACHED or one.by is snapshot.Attacher.PREDECESSOR:
        return
    yield _services(found, one)
    link = one.record.host_link
    if link is not None:
        there = (found.where.sysfs / "class/net" / link.name).exists()
        text = f"by {link.inside}, which is {link.name} on the node" + ("" if there else ": that one is gone")
        yield ChainLink("node", "does it reach its node?", Reply.YES if there else Reply.NO, text,
                        "" if there else "root in the pod can delete it; start the pod again")  # fmt: skip


def _services(found: facts.Facts, one: attachments.ListedAttachment) -> ChainLink:
    question, record = "are Services as they were asked for?", one.record
    if record.services_mode == ServicesMode.HOST and not (record.host_link and record.host_link.beyond):
        text = "host, and the pod has no host link, or no service range goes by it"
        return ChainLink("services", question, Reply.NO, text, "the daemon's log of its ADD says why")
    why = f"; {record.services_reason}" if record.services_reason else ""
    if record.services_mode != ServicesMode.SOCKET:
        ways = {"": "nobody asks for them: `services` is off", ServicesMode.HOST: "host: they go by the host link"}
        return ChainLink("services", question, Reply.YES, ways.get(record.services_mode, record.services_mode) + why)
    trouble = next((line for line in found.trouble if line.startswith(TROUBLE)), None)
    if trouble is None:
        text = "socket: the daemon's programs connect its sockets to backends"
        return ChainLink("services", question, Reply.YES, text + why)
    return ChainLink("services", question, Reply.NO, trouble, "docs/services.md says what the daemon's proof looks at")
