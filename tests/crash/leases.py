"""An IPAM plugin with its lease file, as host-local is: it runs on the host, so a daemon's death does not stop it."""

import asyncio
import json
import pathlib

from sriov_cni.shim import wire
from tests.fakes import life

Attachment = tuple[str, str]
"""Container and interface."""


class Leases:
    """`turns` is how many turns of the event loop the plugin takes to answer."""

    def __init__(self, path: pathlib.Path, turns: int = 0) -> None:
        self._path = path
        self._turns = turns
        path.write_text("{}")

    def held(self) -> set[Attachment]:
        return {(container, ifname) for container, ifname in map(str.split, self._read())}

    async def run(self, command: str, attachment: Attachment, daemon: life.Life) -> wire.Outcome:
        """What the shim does when the daemon asks; two effects, the question and the daemon's hearing of the answer."""
        daemon.effect(f"ask for IPAM {command}")
        outcome = self._add(attachment) if command == "ADD" else self._others(command, attachment)
        for _ in range(self._turns):
            await asyncio.sleep(0)
        daemon.effect(f"hear of IPAM {command}")
        return outcome

    def _add(self, attachment: Attachment) -> wire.Outcome:
        leases, key = self._read(), " ".join(attachment)
        if key in leases:
            return wire.Outcome(1, b'{"code": 100, "msg": "duplicate allocation"}')
        leases[key] = next(f"10.1.0.{host}/24" for host in range(2, 255) if f"10.1.0.{host}/24" not in leases.values())
        self._path.write_text(json.dumps(leases))
        answer = {"ips": [{"address": leases[key], "gateway": "10.1.0.1"}], "routes": [{"dst": "0.0.0.0/0"}]}
        return wire.Outcome(0, json.dumps(answer).encode())

    def _others(self, command: str, attachment: Attachment) -> wire.Outcome:
        leases = self._read()
        if command == "DEL":
            leases.pop(" ".join(attachment), None)
            self._path.write_text(json.dumps(leases))
        elif " ".join(attachment) not in leases:
            return wire.Outcome(1, b'{"code": 101, "msg": "no lease"}')
        return wire.Outcome(0, b"")

    def _read(self) -> dict[str, str]:
        leases: dict[str, str] = json.loads(self._path.read_text())
        return leases
