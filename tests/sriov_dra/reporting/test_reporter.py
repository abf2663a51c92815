"""The reporter beside an API server that is away for a while."""

import asyncio
import pathlib
from collections.abc import Mapping
from typing import Any

from sriov.apiserver import connection, watching
from sriov.state import attached_vfs, grants, ledger
from sriov_dra.claims import claim_objects
from sriov_dra.reporting import reporter
from tests.deviceplugin import loops
from tests.sriov_dra import hook_cases
from tests.sriov_dra.claims import claims
from tests.sriov_dra.hook_cases import VF


class Server:
    """Keeps what was applied, by the claim's UID, with the reason of its one device; `is_away` refuses everything."""

    def __init__(self) -> None:
        self.is_away = False
        self.told: list[tuple[str, str]] = []

    async def claim(self, namespace: str, name: str) -> claim_objects.ClaimObject:
        return claim_objects.ClaimObject(claim_objects.ClaimMetadata(name, namespace, uid=name))

    async def apply_status(self, claim: claim_objects.ClaimMetadata, status: Mapping[str, Any], manager: str) -> None:
        if self.is_away:
            raise connection.FailedError("it is away")
        [device] = status["devices"]
        self.told.append((claim.uid, device["conditions"][0]["reason"]))


def test_a_vf_that_goes_to_another_claim_meanwhile_is_told_of_each_as_it_is(tmp_path: pathlib.Path) -> None:
    """The first claim's pod has it no more, whoever has it now."""
    book, given = ledger.Ledger(tmp_path), grants.Grants(tmp_path)
    book.create()
    given.create()
    server = Server()
    timings = watching.WatchTimings(first=0.05, longest=0.1)
    running = reporter.StatusReporter(claims.DRIVER, tmp_path, server, timings)

    def attach(uid: str) -> None:
        device = grants.GrantedDevice(VF, "vf", claims.POOL, "d")
        given.write(grants.ClaimGrant(uid=uid, namespace="ml", name=uid, devices=(device,)))
        book.write(hook_cases.record(VF, (4, 5)))
        noted = attached_vfs.AttachedVf(pci=VF, claim=uid, container_id="c1", ifname="net1")
        attached_vfs.AttachedVfs(tmp_path).write(noted)

    async def whole() -> None:
        task = asyncio.create_task(running.run())
        attach("first")
        await loops.until(lambda: server.told == [("first", "Attached")], 30)
        server.is_away = True
        book.remove(VF)
        given.remove("first")
        await loops.until(lambda: running.late == 1, 30)
        attach("second")
        await loops.until(lambda: running.late == 2, 30)
        server.is_away = False
        await loops.until(lambda: running.late == 0, 30)
        assert sorted(server.told[1:]) == [("first", "Detached"), ("second", "Attached")]
        task.cancel()
        await asyncio.wait([task])

    loops.run(whole(), 120)
