"""The program that the runtime executes, in Python and in C, and the frames it exchanges with the daemon."""
