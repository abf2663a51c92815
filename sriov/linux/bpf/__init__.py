"""libbpf and the maps that programs in the kernel have."""
