"""Services for pods whose only network is a VF: the table, where it comes from, and the programs that act on it."""
