"""Clients of the kernel's interfaces: netlink, namespaces, ethtool, BPF. They decide nothing."""
