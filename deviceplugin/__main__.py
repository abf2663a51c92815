"""Console program of the device plugin: can be stopped from its first moment on; it imports the plugin only then."""

import sys

from sriov.daemon import starting


def main() -> int:
    with starting.imports("ssl"):  # asyncio has it for a protocol that nothing here speaks
        from deviceplugin import app  # noqa: PLC0415  # this import takes long
    return app.main()


if __name__ == "__main__":
    sys.exit(main())
