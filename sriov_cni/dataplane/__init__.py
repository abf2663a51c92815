"""What makes a pod on a VF a member of its cluster: the way to its host, and Services."""
