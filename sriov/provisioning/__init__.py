"""Provisioning of VFs from a file: the wanted state, the observed state, the plan between them, and its application."""
