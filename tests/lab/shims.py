"""The shim that most tests in the guest call: the native one. An emulated CPU takes most of a second to start Python's.

It is built before the guest boots. Where it cannot be built, Python's is called.
"""

import functools
import os

from tests import artefacts
from tests.lab import prebuilt
from tests.sriov_cni import harness

NATIVE = prebuilt.Prebuilt("no-native-shim", functools.partial(artefacts.output, "hack/build-shim"))


def quick() -> tuple[str, ...]:
    """Return its command line."""
    built = harness.PROJECT / f"build/shim-{os.uname().machine}"
    return (str(built),) if NATIVE.is_built() and built.exists() else harness.PYTHON
