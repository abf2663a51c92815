"""Facts about the cluster that pods on VFs need: the agent compiles them, the CNI daemon applies them. Pure."""
