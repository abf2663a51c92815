"""Shim, the program that the runtime executes, in Python and in C, and its frames to and from the daemon."""
