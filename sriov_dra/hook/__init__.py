"""The program that the container runtime runs for a claim (attached.c), and its place on the node."""
