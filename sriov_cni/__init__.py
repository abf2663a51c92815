"""CNI plugin: a shim that the runtime executes, and the daemon that carries out its calls."""
