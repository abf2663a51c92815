"""Tests that need root are skipped elsewhere, with the reason; with CI=true such a skip is a failure."""

import os
import shutil

import pytest

MUST_RUN = os.environ.get("CI") == "true"


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("root") is None or (reason := _missing()) is None:
        return
    if MUST_RUN:
        pytest.fail(f"{reason}, and CI=true says that this test must run", pytrace=False)
    pytest.skip(reason)


def _missing() -> str | None:
    if os.geteuid() != 0:
        return "needs root, for network namespaces"
    if shutil.which("ip") is None:
        return "needs iproute2; hack/packages --all installs it"
    return None
