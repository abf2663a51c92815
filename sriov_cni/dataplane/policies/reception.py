"""Reception of policies in a daemon: the agent's socket, and the file for the last table."""

import pathlib

import msgspec

from sriov.cluster import policies, policy_frames
from sriov.daemon import unix_sockets
from sriov_cni.dataplane import receiver, table_store
from sriov_cni.dataplane.policies import tables

_WITHOUT = "pods keep the rules that they have, and nothing is known of new ones until the agent sends the table"


class PolicyPlaces(msgspec.Struct, frozen=True):
    """The agent's socket, the file for the last table, and the user who may send."""

    socket: pathlib.Path
    snapshot: pathlib.Path
    uid: int = unix_sockets.AGENT_UID


def kept(snapshot: pathlib.Path) -> table_store.TableFile[policies.PolicyChange]:
    """Return the file for the last table."""
    return table_store.TableFile(snapshot, policy_frames.FORMAT, "--policy-snapshot", _WITHOUT)


def made(
    where: PolicyPlaces,
    held: tables.PolicyTables,
    observer: receiver.FrameObserver[policies.PolicyChange] = receiver.Unobserved(),  # noqa: B008  # it has no state
) -> receiver.TableReceiver[policies.PolicyChange]:
    """Return the receiver of the table, by which the agent is also asked."""
    file = kept(where.snapshot)
    found = receiver.TableReceiver(
        policy_frames.FORMAT, held, file, uid=where.uid, observer=observer, option="--policy-socket"
    )
    held.ask, held.silence, held.confirmed = found.tell, found.silence, found.confirmed
    return found
