"""sriovctl on the nodes of a cluster, by kubectl: the plugin `kubectl sriov`."""
