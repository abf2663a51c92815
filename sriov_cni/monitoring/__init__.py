"""HTTP endpoint and metrics of the CNI daemon."""
