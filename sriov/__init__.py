"""Library of all programs: the state of a node's VFs, and how a VF is attached to a pod and taken back."""
