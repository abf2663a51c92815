"""What makes a pod on a VF a member of its cluster: Services, the way to its host, network policies."""
