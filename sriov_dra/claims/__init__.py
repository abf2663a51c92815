"""ResourceClaims: what one was given, and what a container needs to use that."""
