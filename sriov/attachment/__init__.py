"""Attaching a VF to a pod and taking it back clean: pure plans, and the functions that carry them out."""
