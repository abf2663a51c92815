"""The key `claims` of a network configuration: all devices of the pod's claims are attached in one call. Pure."""

import enum

from sriov_cni.spec import cni_errors, netconf
from sriov_cni.spec.cni_errors import Code


class ClaimsMode(enum.StrEnum):
    """ALONE is the pod's only network, whose first VF has the call's name; CHAINED comes behind another plugin."""

    ALONE = "alone"
    CHAINED = "chained"


def read(document: netconf.Document, *, has_previous: bool) -> ClaimsMode:
    """Return what the configuration says, for an ADD. Raises CniError with code 2, 6 or 7."""
    mode = _mode(document.claims)
    for key in ("deviceID", "resourceName"):
        if bytes(document.values.get(key, b"null")) not in (b"null", b'""'):
            raise netconf.invalid(
                f"{key} and claims {mode.value!r} both say which VF the pod gets", "leave one of them out"
            )
    if mode is ClaimsMode.CHAINED and not has_previous:
        raise netconf.invalid(
            'claims "chained", and there is no prevResult: no plugin comes before this one',
            'write it behind the plugin of the pod\'s network, or write "alone"',
        )
    if mode is ClaimsMode.ALONE and has_previous:
        raise netconf.invalid(
            'claims "alone", and there is a prevResult: another plugin comes before this one',
            'write "chained", or make it the first plugin',
        )
    return mode


def _mode(value: object) -> ClaimsMode:
    if not isinstance(value, str):
        raise cni_errors.CniError(Code.DECODING, f"claims {value!r} is no string", 'write "alone" or "chained"')
    try:
        return ClaimsMode(value)
    except ValueError:
        raise cni_errors.CniError(
            Code.UNSUPPORTED_FIELD, f'claims {value!r} is neither "alone" nor "chained"', "write one of them"
        ) from None
