"""Statement of a VF's whole configuration through its PF, on drivers that support only part of it.

The whole VF is stated each time, so that nothing a former owner left behind survives. If a driver refuses that, each
setting is stated alone. The refusal of a setting that somebody asked for is an error that names it. The refusal of any
other setting fails nothing: it is passed over, unless the PF shows that the VF still has a former owner's value. What a
PF does not support is remembered, so that the separate requests are made only once.
"""

import errno
import logging
import time
from collections.abc import Callable, Set

import msgspec

from sriov import errors, settings
from sriov.attachment import wishes
from sriov.linux import kernel
from sriov.settings import Setting

_log = logging.getLogger(__name__)

# The errnos by which drivers report that they have no such setting. The first is the right one. The second is the
# kernel's own ENOTSUPP, which bnxt lets out with old firmware (bnxt_sriov.c); the third is mlx5's if another processor
# manages the switch (eswitch.h, mlx5_esw_allowed). A caller without CAP_NET_ADMIN gets EPERM too, but cannot move a
# netdev either.
_NO_SUCH_THING = frozenset({errno.EOPNOTSUPP, 524, errno.EPERM})
# Passing conditions and hardware trouble: they are no driver's judgement of a value.
_NO_JUDGEMENT = frozenset({errno.EBUSY, errno.EAGAIN, errno.EIO, errno.ENOMEM, errno.ENOBUFS, errno.ETIMEDOUT})
# Settings that affect others if they are left behind: never passed over while the PF shows another value.
_HELD_BY_THE_PF = frozenset({Setting.VLAN, Setting.TRUST, Setting.RATE})

_MEMORY = 300.0  # seconds until a PF is asked again for what it did not support: its firmware may have been changed

Insist = Callable[[Callable[[], None]], None]
"""Runs an action that busy hardware may refuse, and retries it until it succeeds or patience ends."""


class Target(msgspec.Struct, frozen=True):
    """A VF as its PF addresses it: PF link index, VF index.

    `own_mac` is its netdev's address in the host; NO_MAC if it has no netdev. `generation` changes whenever the PF's
    answers may have changed: new VFs were made, or the card's switch has another mode.
    """

    pf: int
    vf: int
    own_mac: str
    generation: tuple[int, ...] = ()


class _Known(msgspec.Struct, frozen=True):
    generation: tuple[int, ...]
    until: float
    settings: frozenset[Setting]


class Unsupported:
    """Settings that the drivers of this node have refused, by PF link index, valid while its VFs are the same."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[int, _Known] = {}

    def of(self, target: Target) -> frozenset[Setting]:
        known = self._known.get(target.pf)
        if known is None or known.generation != target.generation or self._clock() >= known.until:
            return frozenset()
        return known.settings

    def add(self, target: Target, setting: Setting) -> None:
        before = self.of(target)
        until = self._known[target.pf].until if before else self._clock() + _MEMORY
        self._known[target.pf] = _Known(target.generation, until, before | {setting})

    def forget(self, target: Target, settled: Set[Setting]) -> None:
        """Remove settings that a driver has taken after all: a PF may learn, as mlx5 does on leaving switchdev mode."""
        if (before := self.of(target)) & settled:
            self._known[target.pf] = msgspec.structs.replace(self._known[target.pf], settings=before - settled)


class _Work(msgspec.Struct, frozen=True):
    """One VF to state."""

    net: kernel.Kernel
    target: Target
    wish: wishes.Wish
    unsupported: Unsupported
    insist: Insist

    def say(self, wanted: settings.VfSettings, which: frozenset[Setting]) -> None:
        self.insist(lambda: self.net.set_vf(self.target.pf, self.target.vf, wanted, which))


def state(
    net: kernel.Kernel,
    target: Target,
    wish: wishes.Wish,
    unsupported: Unsupported,
    insist: Insist = lambda action: action(),
) -> frozenset[Setting]:
    """Set everything that the wish names; returns the settings that were passed over, whose value the driver decides.

    Raises UnsupportedError for a setting that was asked for and refused, KernelError if a former owner's value cannot
    be taken back, or if the PF or the VF is not there. Some settings may have been applied by then.
    """
    work = _Work(net, target, wish, unsupported, insist)
    known = unsupported.of(target) & wish.which
    which = wish.which - (known - wish.needed)
    try:
        work.say(wish.wanted, which)
    except errors.KernelError as error:
        if error.errno == errno.ENODEV:
            raise
        each = sorted(which, key=lambda setting: setting.value)
        return (known - which) | {setting for setting in each if not _state_one(work, setting)}
    unsupported.forget(target, which)
    return known - which


def pin(net: kernel.Kernel, target: Target, mac: str, unsupported: Unsupported, insist: Insist, *, asked: bool) -> bool:
    """Have the PF hold the VF to this MAC; returns whether it does. UnsupportedError if refused and asked for."""
    if not asked and Setting.MAC in unsupported.of(target):
        return False
    alone = frozenset({Setting.MAC})
    wish = wishes.Wish(
        msgspec.structs.replace(settings.BASELINE, mac=mac), alone if asked else frozenset(), which=alone
    )
    work = _Work(net, target, wish, unsupported, insist)
    try:
        work.say(wish.wanted, alone)
    except errors.KernelError as error:
        _refused(work, Setting.MAC, error)
        return False
    return True


def refuse_without_pf(wanted: settings.VfSettings, asked: Set[Setting], has_netdev: bool) -> None:
    """Raise UnsupportedError for the first setting that only a PF can make; a netdev takes its MAC itself."""
    itself = {Setting.MAC} if has_netdev else set()
    for setting in sorted(asked - itself, key=lambda each: each.value):
        raise errors.UnsupportedError(
            f"{wishes.shown(wanted, setting)} needs the VF's PF, which is not on this machine",
            "set it where the PF is, and leave it out here",
        )


def _state_one(work: _Work, setting: Setting) -> bool:
    """State one setting; returns whether the VF has what the wish names. Raises as state()."""
    refusals: list[errors.KernelError] = []
    for wanted in work.wish.instead(setting, work.target.own_mac):
        try:
            work.say(wanted, frozenset({setting}))
        except errors.KernelError as error:
            refusals.append(error)
            if error.errno in _NO_JUDGEMENT:
                break
        else:
            work.unsupported.forget(work.target, {setting})
            return not refusals or _made_good(work, setting, refusals[0])
    _refused(work, setting, refusals[0])
    return False


def _made_good(work: _Work, setting: Setting, error: errors.KernelError) -> bool:
    """Report whether a substitute is as good: the VF's own MAC is, for none; the baseline for a declared one is not."""
    if setting is Setting.MAC and work.wish.wanted.mac == settings.NO_MAC:
        return True
    _tell(work, setting, error)
    return False


def _refused(work: _Work, setting: Setting, error: errors.KernelError) -> None:
    """Raise what the refusal means, or pass the setting over."""
    wish, target = work.wish, work.target
    if error.errno == errno.ENODEV or (setting in wish.asked and error.errno in _NO_JUDGEMENT):
        raise error
    if setting in wish.asked:
        raise errors.UnsupportedError(
            f"the driver of VF {target.vf} refuses {wishes.shown(wish.wanted, setting)} ({error.message})",
            "leave it out of the network configuration, or use another NIC",
        ) from error
    if _may_be_left(wish, setting, error) and _is_left(work, setting):
        raise error
    if error.errno in _NO_SUCH_THING:
        work.unsupported.add(target, setting)
    _tell(work, setting, error)


def _tell(work: _Work, setting: Setting, error: errors.KernelError) -> None:
    """Log a setting that was passed over; as a warning, unless the driver has no such setting and nobody wants it."""
    wanted = work.wish.wanted
    usual = error.errno in _NO_SUCH_THING and wanted.value(setting) == settings.BASELINE.value(setting)
    _log.log(
        logging.INFO if usual else logging.WARNING,
        "VF %d of link %d goes on without %s, which no network asked for: %s",
        work.target.vf, work.target.pf, wishes.shown(wanted, setting), error,
    )  # fmt: skip


def _may_be_left(wish: wishes.Wish, setting: Setting, error: errors.KernelError) -> bool:
    """Report whether a former owner's value may remain: a driver's word is not enough for what affects others."""
    return setting in _HELD_BY_THE_PF or (setting in wish.left and error.errno not in _NO_SUCH_THING)


def _is_left(work: _Work, setting: Setting) -> bool:
    """Report whether the VF has a former owner's value, by what the PF shows; read only after a refusal.

    igb and ixgbe refuse a rate, even none, while the PF has no link (igb_ndo_set_vf_bw() in igb_main.c,
    ixgbe_ndo_set_vf_bw() in ixgbe_sriov.c), and an unplugged cable must not keep a pod from ending.
    """
    wish, found = work.wish, work.net.vf(work.target.pf, work.target.vf).value(setting)
    if found in (wish.wanted.value(setting), settings.BASELINE.value(setting)):
        return False
    return setting in _HELD_BY_THE_PF or (wish.former is not None and found == wish.former.value(setting))
