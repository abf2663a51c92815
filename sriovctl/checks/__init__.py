"""Verdicts about what was read. Pure."""
