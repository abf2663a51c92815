"""API server: one client for the programs that ask it, with its failures, and watches that go on."""
