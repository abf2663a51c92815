"""Console program of the CNI daemon: can be stopped from its first moment on; it imports the daemon only after that."""

import sys

from sriov.daemon import starting


def main() -> int:
    with starting.imports("ssl"):  # asyncio has it for a protocol that nothing here speaks
        from sriov_cni import app  # noqa: PLC0415  # this import takes long
    return app.main()


if __name__ == "__main__":
    sys.exit(main())
