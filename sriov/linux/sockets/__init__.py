"""Sockets of other processes, by sock_diag: which there are, and their end."""
