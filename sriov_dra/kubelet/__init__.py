"""The kubelet's side of the driver: its calls, the health of devices, sockets and registration."""
