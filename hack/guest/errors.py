"""What the lab says when it cannot do its work: one line that names the thing and the remedy.

LabError                 the guest failed: it did not boot, it lost a device
└── UnavailableError     this machine cannot have a guest at all, so a test may be skipped instead of failed
"""

from __future__ import annotations


class LabError(Exception):
    """The lab, not the command in it, failed."""


class UnavailableError(LabError):
    """No guest can be had here: not root, not Debian, the parts are not obtainable."""
