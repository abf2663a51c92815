"""Policies of pods, as rules in their namespaces."""
