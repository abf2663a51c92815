"""Console program of the DRA driver: can be stopped from its first moment on; it imports the driver only then."""

import sys

from sriov.daemon import starting


def main() -> int:
    with starting.imports():
        from sriov_dra import app  # noqa: PLC0415  # this import takes long
    return app.main()


if __name__ == "__main__":
    sys.exit(main())
