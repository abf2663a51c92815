"""Membership of a pod on a VF in its cluster: Services, and the way to its host."""
