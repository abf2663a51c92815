"""Choice of `services: "auto"`: the way to Services that there is, and why. Pure."""

import msgspec


class WaysThereAre(msgspec.Struct, frozen=True, kw_only=True):
    """`translates`: the daemon has its programs; `problems` are what its proof found. `others` are programs of another
    balancer that run for all sockets. `host_link`: the network has one, and the cluster's service ranges are
    known. `netdev`: the VF has one."""

    translates: bool
    problems: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    host_link: bool = False
    netdev: bool = True


class Choice(msgspec.Struct, frozen=True):
    """`mode` is a value of the key that asks for one way."""

    mode: str
    reason: str


def choose(facts: WaysThereAre) -> Choice:
    if not facts.netdev:
        return Choice("off", "the VF has no netdev: its packets are not those of sockets in the node's kernel")
    if facts.translates and not facts.problems:
        return Choice("socket", "the daemon's programs translate, as its proof shows")
    if facts.others:
        return Choice("off", f"Cilium's programs translate for the sockets of all pods: {', '.join(facts.others)}")
    why_not = f"the daemon's programs do not work ({facts.problems[0]})" if facts.translates else "no --services"
    if facts.host_link:
        return Choice("host", f"{why_not}, and the network has a host link")
    return Choice("off", f"{why_not}, and no host link, or no service ranges for it")
