"""Reporter: tells the API server what the pods of claims have, and that they have it no more.

It looks at the run directory when something changes there, so that neither an ADD nor a prepare waits for it. What the
server has is compared with what it should have: nothing is written twice, and a server that is away is told later.
"""

import asyncio
import datetime
import functools
import logging
import pathlib
from collections.abc import Awaitable, Mapping
from typing import Any, Protocol

import msgspec

from sriov import devices, errors
from sriov.apiserver import connection, watching
from sriov.daemon import folder_watch
from sriov.state import attached_vfs, grants, ledger
from sriov_dra.claims import claim_objects
from sriov_dra.reporting import states

_log = logging.getLogger(__name__)

_GATHER = 0.25  # seconds in which what changes is told together
_TOGETHER = 5.0  # seconds: a pod with several VFs gets them one after the other, with IPv6 some seconds each
_ABSENCE, _RECHECK = 1.0, 15.0  # seconds
_RESYNC = 30.0  # seconds between two looks without an event: inotify may have had no room for one


class StatusWriter(Protocol):
    """What the reporter asks of the API server. All raise FailedError."""

    def claim(self, namespace: str, name: str) -> Awaitable[claim_objects.ClaimObject]: ...

    def apply_status(
        self, claim: claim_objects.ClaimMetadata, status: Mapping[str, Any], manager: str
    ) -> Awaitable[None]: ...


class _Told(msgspec.Struct):
    """A claim whose status is kept. `known` is what the server has, None if that has not been asked. `gone`: the server
    takes none, since it has no such claim, or the claim has no such devices any more. `halfway` is since when some of
    its devices are in the pod and others not, None if that is not so."""

    grant: grants.ClaimGrant
    known: states.Known | None = None
    gone: bool = False
    halfway: float | None = None


class StatusReporter:
    """For one event loop. `writes` counts; `late` are the claims that the server has not been told of."""

    def __init__(
        self, driver: str, run_dir: pathlib.Path, writer: StatusWriter, timings: watching.WatchTimings
    ) -> None:
        self._driver, self._writer, self._timings = driver, writer, timings
        self._grants, self._book = grants.Grants(run_dir), ledger.Ledger(run_dir)
        self._attached = attached_vfs.AttachedVfs(run_dir)
        self._claims: dict[str, _Told] = {}
        self._began, self._problem = False, ""
        self._wake = asyncio.Event()
        self.writes = self.late = 0

    async def run(self) -> None:
        """Follow the run directory until cancelled."""
        async with asyncio.TaskGroup() as group:
            for folder in (self._book.folder, self._attached.folder, self._grants.folder):
                group.create_task(folder_watch.changes(folder, self._wake.set, _ABSENCE, _RECHECK))
            await asyncio.sleep(0)  # they watch from here on: nothing that comes after the first look is missed
            await self._follow()

    async def _follow(self) -> None:
        in_a_row = 0
        while True:
            self._wake.clear()
            in_a_row = 0 if await self._tell() else in_a_row + 1
            pause = self._timings.drawn_pause(in_a_row) if in_a_row else _RESYNC
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
                    await asyncio.sleep(_GATHER)
            except TimeoutError:
                pass

    async def _tell(self) -> bool:
        """Tell whatever the server does not know; returns whether it knows everything now."""
        self._take_in()
        for uid, told in list(self._claims.items()):
            try:
                await self._tell_of(told)
            except (connection.AbsentError, connection.InvalidError) as error:
                _log.info("%s has no status any more: %s", told.grant, error)
                told.gone = True
            except errors.SriovError as error:
                self._claims[uid] = self._claims.pop(uid)  # the others come first next time: it may be its own fault
                self._failed(told.grant, error)
                return False
        self.late, self._problem = 0, ""
        return True

    def _failed(self, grant: grants.ClaimGrant, error: errors.SriovError) -> None:
        self.late = sum(not self._is_over(each) for each in self._claims.values())
        if str(error) != self._problem:
            _log.warning("%s: its status cannot be written, and is later: %s", grant, error)
        self._problem = str(error)

    def _take_in(self) -> None:
        """Claims that were prepared before this process have a status that is not known; others have none yet."""
        present = {each.uid: each for each in self._grants.all()}
        for uid, grant in present.items():
            told = self._claims.get(uid)
            if told is None or told.grant.devices != grant.devices:
                self._claims[uid] = _Told(grant, {} if self._began else None)
        self._began = True
        for uid in [uid for uid, told in self._claims.items() if uid not in present and self._is_over(told)]:
            del self._claims[uid]

    def _is_over(self, told: _Told) -> bool:
        return told.gone or (told.known is not None and self._wanted(told, told.known) == told.known)

    def _wanted(self, told: _Told, known: states.Known) -> states.Known:
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        seen = functools.partial(self._seen, told.grant.uid)
        return states.wanted(self._driver, told.grant, known, seen, now)

    def _seen(self, claim: str, device: str) -> states.SeenVf | None:
        """Return what the claim's pod has of the device, None if it has nothing: another claim's pod may have it."""
        record = self._book.read(devices.PciAddress(device))
        attached = None if record is None else self._attached.of(record)
        if record is None or attached is None or attached.claim != claim:
            return None
        return states.SeenVf(attached, record.problem)

    async def _tell_of(self, told: _Told) -> None:
        if told.gone:
            return
        if told.known is None:
            told.known = await self._asked(told.grant)
        wanted = self._wanted(told, told.known)
        if wanted == told.known or self._waits(told, wanted):
            return
        claim = claim_objects.ClaimMetadata(told.grant.name, told.grant.namespace, told.grant.uid)
        self.writes += 1
        await self._writer.apply_status(claim, {"devices": msgspec.to_builtins(list(wanted.values()))}, self._driver)
        told.known = wanted

    def _waits(self, told: _Told, wanted: states.Known) -> bool:
        """Report whether the rest of its devices may come or go at any moment, and look again soon if so."""
        loop = asyncio.get_running_loop()
        if not states.is_halfway(told.grant, wanted):
            told.halfway = None
            return False
        told.halfway = loop.time() if told.halfway is None else told.halfway
        if loop.time() - told.halfway >= _TOGETHER:
            return False
        loop.call_later(_GATHER, self._wake.set)
        return True

    async def _asked(self, grant: grants.ClaimGrant) -> states.Known:
        claim = await self._writer.claim(grant.namespace, grant.name)
        if claim.metadata.uid != grant.uid:
            raise connection.AbsentError(f"{grant} has been made again")
        return states.of_driver(self._driver, claim.status.devices)
