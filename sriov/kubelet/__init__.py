"""Interfaces of the kubelet that programs share: plugin registration, PodResources, its checkpoint."""
