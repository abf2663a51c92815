"""Context of every command: locks, the node's policy, IPAM, the run directory, attachments of other plugins."""
