"""The shims by name, each as a command line: Python's, the native one, and that with sanitizers.

The native ones are built once a session, by hack/build-shim.
"""

import functools
import os
import subprocess

import pytest

from tests.sriov_cni import harness

ALL = ("python", "native", "sanitized")
BOTH = ("python", "native")


def command(name: str) -> tuple[str, ...]:
    """The shim's command line. Skips the test where there is no compiler, which CI=true does not allow."""
    return harness.PYTHON if name == "python" else built(*(("--sanitize",) if name == "sanitized" else ()))


@functools.cache
def built(*flags: str) -> tuple[str, ...]:
    """What hack/build-shim makes with these flags."""
    done = subprocess.run([harness.PROJECT / "hack/build-shim", *flags], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return (done.stdout.strip(),)
    if os.environ.get("CI") == "true":
        pytest.fail(done.stderr, pytrace=False)
    pytest.skip(done.stderr.strip().splitlines()[-1])
