"""Reception of policies in a daemon: the agent's socket, and the file for the last table."""

import contextlib
import pathlib
from collections.abc import AsyncIterator

import msgspec

from sriov.cluster import policies, policy_frames
from sriov.daemon import background, unix_sockets
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


def made(where: PolicyPlaces, held: tables.PolicyTables) -> receiver.TableReceiver[policies.PolicyChange]:
    """Return the receiver of the table, which also asks the agent."""
    file = kept(where.snapshot)
    found = receiver.TableReceiver(policy_frames.FORMAT, held, file, uid=where.uid, option="--policy-socket")
    held.ask = found.tell
    return found


@contextlib.asynccontextmanager
async def serving(where: PolicyPlaces, held: tables.PolicyTables, tasks: background.Background) -> AsyncIterator[None]:
    """Receive until the context ends. Raises SriovError if it cannot listen."""
    async with made(where, held).serving(where.socket, tasks):
        yield
