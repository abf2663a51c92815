"""Rules of nftables in memory: tables, chains, sets and rules as nft's commands make them, nothing that has packets.

It knows the commands that this project gives, one a line, and a command for what is not there is refused as the kernel
refuses it.
"""

import copy
import dataclasses
import errno
import ipaddress
import re
from collections.abc import Callable

from sriov import errors

_COMMENT = re.compile(r'comment "([^"]*)"')


@dataclasses.dataclass(slots=True)
class Table:
    comment: str = ""
    dormant: bool = False
    chains: dict[str, str] = dataclasses.field(default_factory=dict)
    """Comments by name."""
    rules: list[str] = dataclasses.field(default_factory=list)
    sets: dict[str, set[bytes]] = dataclasses.field(default_factory=dict)


class Ruleset:
    """One namespace's. `told` are the commands of each transaction since the last flush.

    `after_next` is called when the next transaction has been applied, as somebody who is quick.
    """

    def __init__(self) -> None:
        self.told: list[str] = []
        self.generation = 1
        self.after_next: Callable[[], None] | None = None
        self._tables: dict[str, Table] = {}
        self._refused: list[str] = []

    def refuse(self, *beginnings: str) -> None:
        """Refuse so many transactions, each with a command of this beginning, as a kernel without memory does."""
        self._refused = [*beginnings]

    def flush(self) -> None:
        """As `nft flush ruleset` does."""
        self.told.clear()
        self._tables.clear()
        self.generation += 1

    def run(self, commands: str) -> None:
        """All of it or nothing. Raises KernelError."""
        if self._refused and any(each.startswith(self._refused[0]) for each in commands.splitlines()):
            self._refused.pop(0)
            raise errors.KernelError("set rules of nftables", errno.ENOMEM)
        before = copy.deepcopy(self._tables)
        try:
            for line in filter(None, map(str.strip, commands.splitlines())):
                self._apply(line)
        except KeyError as error:
            self._tables = before
            raise errors.KernelError("set rules of nftables", errno.EINVAL, f"no such thing: {error}") from error
        self.told.append(commands)
        self.generation += 1
        quick, self.after_next = self.after_next, None
        if quick is not None:
            quick()

    def _apply(self, line: str) -> None:
        verb, kind, rest = line.split(" ", 2)
        family, name, *further = rest.split(" ", 2)
        table, said = f"{family} {name}", further[0] if further else ""
        comment = _COMMENT.findall(said) or [""]
        if (verb, kind) == ("create", "table"):
            if table in self._tables:
                raise KeyError(table)
            self._tables[table] = Table(comment[0])
        elif (verb, kind) == ("add", "table"):
            self._tables.setdefault(table, Table(comment[0])).dormant = "flags dormant" in said
        elif (verb, kind) == ("delete", "table"):
            del self._tables[table]
        else:
            self._inside(self._tables[table], verb, kind, said, comment[0])

    def _inside(self, table: Table, verb: str, kind: str, said: str, comment: str) -> None:
        name = said.split(" ", 1)[0]
        match verb, kind:
            case "add", "chain":
                table.chains.setdefault(name, comment)
            case "delete", "chain":
                del table.chains[name]
            case "flush", "chain":
                table.rules = [each for each in table.rules if each.split(" ", 1)[0] != name]
            case "add", "rule":
                table.rules.append(said)
            case "add", "set":
                table.sets.setdefault(name, set())
            case "add", "element":
                table.sets[name] |= _elements(said)
            case "delete", "element":
                table.sets[name] -= _elements(said)
            case _:
                assert (verb, kind) == ("add", "counter"), (verb, kind)

    def comment(self, table: str, chain: str = "") -> str:
        found = self._tables.get(f"inet {table}", Table())
        return found.chains.get(chain, "") if chain else found.comment

    def rules(self, table: str, *, netdev: bool = True) -> tuple[bytes, ...]:
        every = ((name, each) for name, each in self._tables.items() if not each.dormant)
        families = ("inet", "netdev") if netdev else ("inet",)
        named = (each for name, each in every if name in [f"{family} {table}" for family in families])
        return tuple(rule.encode() for each in named for rule in each.rules)

    def elements(self, table: str, name: str) -> frozenset[bytes]:
        return frozenset(self._tables.get(f"inet {table}", Table()).sets.get(name, set()))


def _elements(said: str) -> set[bytes]:
    [inside] = re.findall(r"\{(.*)\}", said)
    return {ipaddress.ip_network(each.strip()).network_address.packed for each in inside.split(",")}
