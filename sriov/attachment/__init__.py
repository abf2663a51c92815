"""Attaching a VF to a pod and taking it back clean: plans, and the steps that carry them out."""
