"""Agent: watches what network policies select for one node and gives it, as rules, to the CNI daemon."""
