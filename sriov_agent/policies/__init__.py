"""Agent: watches the cluster's Services for one node and gives them, as data, to the CNI daemon."""
