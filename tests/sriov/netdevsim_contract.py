"""Contract of netdevsim, and of any kernel with more VFs than fit in one answer: the fake and the real thing."""

import abc
import errno
import pathlib
from collections.abc import Iterator

import pytest

from sriov import errors, settings
from sriov.settings import Setting
from tests.sriov import kernel_contract

EVERYTHING = settings.VfSettings(
    mac="02:00:00:00:bb:09",
    vlan=100,
    qos=3,
    proto=settings.VlanProto.AD,
    spoofchk=True,
    trust=True,
    link_state=settings.LinkState.DISABLE,
    min_tx_rate=10,
    max_tx_rate=200,
)


class NetdevsimContract(kernel_contract.VfContract):
    """A driver that takes whatever rtnetlink hands it (drivers/net/netdevsim/netdev.c, nsim_set_vf_*)."""

    settable = settings.EVERY_SETTING

    def test_a_new_vf_is_not_at_our_baseline(self, bench: kernel_contract.VfBench) -> None:
        """Spoof checking is off: stating only what was asked for would leave it so."""
        assert bench.net.vf(bench.pf, bench.vf) == settings.VfSettings(spoofchk=False)

    def test_everything_in_one_request(self, bench: kernel_contract.VfBench) -> None:
        bench.net.set_vf(bench.pf, bench.vf, EVERYTHING, settings.EVERY_SETTING)
        assert bench.net.vf(bench.pf, bench.vf) == EVERYTHING
        assert bench.net.vf(bench.pf, bench.vf + 1) == settings.VfSettings(spoofchk=False)
        bench.net.set_vf(bench.pf, bench.vf, settings.BASELINE, settings.EVERY_SETTING)
        assert bench.net.vf(bench.pf, bench.vf) == settings.BASELINE

    @pytest.mark.parametrize("state", settings.LinkState)
    def test_each_link_state(self, bench: kernel_contract.VfBench, state: settings.LinkState) -> None:
        assert self.state(bench, Setting.LINK_STATE, link_state=state).link_state is state

    def test_both_rates(self, bench: kernel_contract.VfBench) -> None:
        found = self.state(bench, Setting.RATE, min_tx_rate=10, max_tx_rate=200)
        assert (found.min_tx_rate, found.max_tx_rate) == (10, 200)

    def test_each_setting_leaves_the_others(self, bench: kernel_contract.VfBench) -> None:
        for setting in settings.EVERY_SETTING:
            before = bench.net.vf(bench.pf, bench.vf)
            bench.net.set_vf(bench.pf, bench.vf, EVERYTHING, {setting})
            found = bench.net.vf(bench.pf, bench.vf)
            assert found.value(setting) == EVERYTHING.value(setting)
            assert all(found.value(each) == before.value(each) for each in Setting if each is not setting)


class ManyContract(abc.ABC):
    """A PF with more VFs than any buffer was made for."""

    @abc.abstractmethod
    def bench(self, tmp_path: pathlib.Path, request: pytest.FixtureRequest) -> Iterator[kernel_contract.VfBench]:
        """A fixture: a PF with as many VFs as its parameter says; `vf` is the last."""

    @pytest.mark.parametrize("bench", [256], indirect=True)
    def test_f36_each_of_256_vfs_is_read_as_it_was_set(self, bench: kernel_contract.VfBench) -> None:
        for index in range(256):
            bench.net.set_vf(bench.pf, index, settings.VfSettings(vlan=index + 1), {Setting.VLAN})
        # 108 and 127 VFs are where readers with a buffer of 16 or 32 KiB end, 222 where one with counters does.
        for index in (0, 1, 107, 108, 126, 127, 128, 221, 222, 255):
            assert bench.net.vf(bench.pf, index).vlan == index + 1

    @pytest.mark.parametrize("bench", [600], indirect=True)
    def test_f36_a_vf_behind_the_end_of_a_list_that_breaks_off(self, bench: kernel_contract.VfBench) -> None:
        """It can be set and not be seen; those before it can be both."""
        for index in (0, bench.vf):
            bench.net.set_vf(bench.pf, index, settings.VfSettings(vlan=7), {Setting.VLAN})
        assert bench.net.vf(bench.pf, 0).vlan == 7
        assert self.refusal(bench, bench.vf) == errno.EMSGSIZE
        assert self.refusal(bench, bench.vf + 1) == errno.EINVAL

    @pytest.mark.parametrize("bench", [1400], indirect=True)
    def test_f36_an_answer_that_is_too_large_to_be_received(self, bench: kernel_contract.VfBench) -> None:
        assert self.refusal(bench, 0) == self.refusal(bench, bench.vf) == errno.EMSGSIZE

    def refusal(self, bench: kernel_contract.VfBench, vf: int) -> int:
        with pytest.raises(errors.KernelError) as caught:
            bench.net.vf(bench.pf, vf)
        return caught.value.errno
