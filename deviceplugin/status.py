"""Whether every resource is known to the kubelet and the configuration is in force. Pure."""

import dataclasses
import json


@dataclasses.dataclass(frozen=True, slots=True)
class ResourceStatus:
    """`registered`: a kubelet has taken it; `watched`: by how many streams."""

    name: str
    devices: int
    healthy: int
    registered: bool
    watched: int


@dataclasses.dataclass(frozen=True, slots=True)
class Status:
    """`config_error` is what is wrong with the file that is not in force; empty where it is."""

    config_file: str
    config_error: str
    resources: tuple[ResourceStatus, ...]

    @property
    def problems(self) -> list[str]:
        unknown = [f"{one.name} is not registered with the kubelet" for one in self.resources if not one.registered]
        kept = f"the configuration in force is an older one: {self.config_error}"
        return ([kept] if self.config_error else []) + unknown

    @property
    def as_json(self) -> bytes:
        return json.dumps(dataclasses.asdict(self) | {"problems": self.problems}, indent=1).encode() + b"\n"
