"""Checks of what was read: verdicts. Pure."""
