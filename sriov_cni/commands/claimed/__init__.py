"""Commands of a network that attaches all devices of a pod's claims in one call."""
