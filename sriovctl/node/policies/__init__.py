"""Network policies of the pods on this node: what is wanted, and what is in force."""
