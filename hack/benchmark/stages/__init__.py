"""Links, pods and daemons that are measured: on veths of this machine, or on the VFs of the guest."""
