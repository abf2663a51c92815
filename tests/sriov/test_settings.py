"""Ranges and rules of VF settings. F34: each refusal names the key, the value and the remedy."""

import msgspec
import pytest

from sriov import errors, settings


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        (settings.VfSettings(vlan=4095), "vlan id 4095 invalid"),
        (settings.VfSettings(vlan=5000), "vlan id 5000 invalid"),
        (settings.VfSettings(vlan=-1), "vlan id -1 invalid"),
        (settings.VfSettings(vlan=1, qos=8), "vlan QoS PCP 8 invalid"),
        (settings.VfSettings(min_tx_rate=-1), "min_tx_rate -1 invalid"),
        (settings.VfSettings(max_tx_rate=2**32), "max_tx_rate 4294967296 invalid"),
    ],
)
def test_f34_out_of_range(wanted: settings.VfSettings, named: str) -> None:
    with pytest.raises(errors.SettingError, match=named) as caught:
        settings.check(wanted)
    assert "use a value from 0 to" in caught.value.remedy


@pytest.mark.parametrize("vlan", [0, 1, 4094])
def test_f34_in_range(vlan: int) -> None:
    wanted = settings.VfSettings(vlan=vlan, qos=7 if vlan else 0, max_tx_rate=2**32 - 1)
    assert settings.check(wanted) is wanted


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("01:00:00:00:00:01", "multicast"),
        ("ff:ff:ff:ff:ff:ff", "multicast"),
        ("00:00:00:00:00:00", "all zero"),
        ("02:00:00:00:00", "not a hardware address"),
        ("02:00:00:00:00:01\n", "not a hardware address"),
        ("02-00-00-00-00-01", "not a hardware address"),
        ("", "not a hardware address"),
    ],
)
def test_c39_a_mac_that_no_vf_can_have(text: str, why: str) -> None:
    with pytest.raises(errors.SettingError, match=why):
        settings.mac(text)


def test_a_mac_is_lower_case() -> None:
    assert settings.mac("02:AB:cd:00:00:01") == "02:ab:cd:00:00:01"


def test_qos_without_a_vlan() -> None:
    with pytest.raises(errors.SettingError, match="vlanQoS 3: non-zero vlan id must be configured"):
        settings.check(settings.VfSettings(qos=3))


def test_a_minimum_above_the_maximum() -> None:
    with pytest.raises(errors.SettingError, match="min_tx_rate 10 exceeds max_tx_rate 5"):
        settings.check(settings.VfSettings(min_tx_rate=10, max_tx_rate=5))
    no_maximum = settings.VfSettings(min_tx_rate=10)
    assert settings.check(no_maximum) is no_maximum


def test_asked_is_what_differs_from_the_baseline() -> None:
    assert settings.asked(settings.BASELINE) == frozenset()
    wanted = settings.VfSettings(qos=1, max_tx_rate=5)
    assert settings.asked(wanted) == {settings.Setting.VLAN, settings.Setting.RATE}


@pytest.mark.parametrize(
    "address", ["02:00:00:00:00:01", "06:00:00:00:00:01", "04:00:00:00:00:00", "f2:aa:bb:cc:dd:ee"]
)
def test_aside_is_another_address_that_a_vf_may_have(address: str) -> None:
    assert settings.mac(settings.aside(address)) != address


@pytest.mark.parametrize("trust", [None, True, False])
@pytest.mark.parametrize("spoofchk", [None, True, False])
def test_what_is_named_goes_over_what_is_below_and_the_rest_stays(trust: bool | None, spoofchk: bool | None) -> None:
    below = settings.VfSettings(vlan=5, trust=True, spoofchk=False)
    found = settings.Switches(trust=trust, spoofchk=spoofchk).over(below)
    assert found == msgspec.structs.replace(below, trust=trust is not False, spoofchk=spoofchk is True)
