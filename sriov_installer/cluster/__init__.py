"""DaemonSets of a cluster, for Helm's hooks: whether their daemons answer, removal of the shim from every node."""
