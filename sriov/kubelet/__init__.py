"""The kubelet's interfaces that programs share: plugin registration, PodResources, its checkpoint."""
