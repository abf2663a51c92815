"""Pools of devices: the devices of each resource, their health, and what a container needs to use them."""
