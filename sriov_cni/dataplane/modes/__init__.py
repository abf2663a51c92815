"""Choice of `services: "auto"`: what the node has, and which way that leaves."""
