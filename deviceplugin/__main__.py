"""The console program of the device plugin: can be stopped from its first moment on, and is imported only then."""

import sys

from sriov.daemon import signals


def main() -> int:
    signals.at_once()
    signals.leave_a_trace()
    from deviceplugin import app  # noqa: PLC0415  # this takes long

    return app.main()


if __name__ == "__main__":
    sys.exit(main())
