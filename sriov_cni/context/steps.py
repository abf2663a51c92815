"""Steps of a call that are timed beside those of its attachment and of the ledger."""

from sriov import timing


class CallStep(timing.Step):
    """IPAM is the plugin's run in the shim; ADDRESSES sets them and waits until they can be used."""

    VALIDATE = "validate"
    LOCK = "lock"
    IPAM = "IPAM"
    ADDRESSES = "addresses"
    HOST_LINK = "host link"
    POLICY = "policy"
    ANSWER = "answer"
