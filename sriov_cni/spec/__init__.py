"""Formats of CNI: environment, network configuration, results, errors. Pure."""
