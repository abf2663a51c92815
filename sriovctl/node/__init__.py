"""What sriovctl reads of a node, once for each call. Changes nothing."""
