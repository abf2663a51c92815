"""The tool for people: what this node has, what is wrong with it, and why."""
