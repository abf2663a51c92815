"""Installer: puts the CNI plugin and the systemd units on a node, and removes them."""
