"""A netdev's settings beyond its link message: ethtool, BPF programs, and all of them as one comparable value."""
