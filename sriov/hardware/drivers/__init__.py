"""What drivers offer beside a netdev: RDMA devices, vDPA devices, vfio files, DDP profiles. Reads only."""
