"""Command line for people: the state of this node's SR-IOV, its problems, and the reasons."""
