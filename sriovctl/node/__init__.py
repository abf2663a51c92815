"""State of a node, read once for each call. Changes nothing."""
