"""What pods on VFs need to know of their cluster: the agent compiles it, the CNI daemon applies it. Pure."""
