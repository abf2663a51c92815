"""Interfaces of drivers other than the netdev: RDMA devices, vDPA devices, vfio files, DDP profiles. Reads only."""
