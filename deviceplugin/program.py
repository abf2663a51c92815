"""The console program of the device plugin: can be stopped from its first moment on, and is imported only then."""

from sriov import stopping


def main() -> int:
    stopping.at_once()
    stopping.leave_a_trace()
    from deviceplugin import __main__ as daemon  # noqa: PLC0415  # this takes long

    return daemon.main()
