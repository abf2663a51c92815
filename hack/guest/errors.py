"""Errors of the lab when it cannot do its work: one line that names the thing and the remedy.

LabError                 the guest failed: it lost a device, its command did not end
├── NotBootedError       it did not boot, so nothing was done in it
├── StoodStillError      it gave no sign of life any more: neither its clock nor its kernel goes on
└── UnavailableError     this machine cannot have a guest at all, so a test may be skipped instead of failed
"""

from __future__ import annotations


class LabError(Exception):
    """The lab, not the command in it, failed."""


class NotBootedError(LabError):
    """The guest has not come up, or not in time."""


class StoodStillError(LabError):
    """The guest as a whole stands still, whatever runs in it."""


class UnavailableError(LabError):
    """No guest can be had here: not root, not Debian, the parts are not obtainable."""
