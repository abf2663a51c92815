"""Status of the plugin: whether each resource is registered and the configuration is in force. Pure."""

import json

import msgspec


class ResourceStatus(msgspec.Struct, frozen=True):
    """One resource. `registered`: a kubelet has accepted it; `watched`: its number of streams; the rest are counts."""

    name: str
    devices: int
    healthy: int
    registered: bool
    watched: int
    registrations: int = 0
    failed_registrations: int = 0
    allocations: int = 0
    refused_allocations: int = 0


class Status(msgspec.Struct, frozen=True):
    """Status of all. `config_error` is what is wrong with a file that is not in force; empty if it is in force.

    `reloads` counts files that came into force after the first, `refused_reloads` those that did not. `failing` has a
    line for each background task that fails. `waiting`: no file has been in force yet.
    """

    config_file: str
    config_error: str
    resources: tuple[ResourceStatus, ...] = ()
    reloads: int = 0
    refused_reloads: int = 0
    failing: tuple[str, ...] = ()
    waiting: bool = False

    @property
    def problems(self) -> list[str]:
        unknown = [f"{one.name} is not registered with the kubelet" for one in self.resources if not one.registered]
        now = "nothing is advertised" if self.waiting else "the previous configuration is in force"
        kept = f"config.json is invalid, {now}: {self.config_error}"
        return ([kept] if self.config_error else []) + unknown + list(self.failing)

    @property
    def as_json(self) -> bytes:
        return json.dumps(msgspec.to_builtins(self) | {"problems": self.problems}, indent=1).encode() + b"\n"
