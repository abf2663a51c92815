"""Duration of these tests: brief in CI, thorough with `--long`, or with SRIOV_LONG=1 in the environment."""

import hypothesis

from tests.tiers import LONG


def examples(brief: int, thorough: int) -> hypothesis.settings:
    """A fixed seed in CI, so that a failure is the change's and not the day's; a new one each time with SRIOV_LONG."""
    return hypothesis.settings(
        max_examples=thorough if LONG else brief,
        derandomize=not LONG,
        stateful_step_count=20,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(hypothesis.HealthCheck),
        print_blob=True,
    )
