"""Console program of the device plugin: can be stopped from its first moment on; it imports the plugin only then."""

import gc
import sys

from sriov.daemon import signals


def main() -> int:
    signals.at_once()
    signals.leave_a_trace()
    gc.disable()  # what an import makes stays, so that collections meanwhile find nothing: a tenth of the start
    from deviceplugin import app  # noqa: PLC0415  # this import takes long

    gc.freeze()
    gc.enable()
    return app.main()


if __name__ == "__main__":
    sys.exit(main())
