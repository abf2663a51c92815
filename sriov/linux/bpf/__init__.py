"""BPF by libbpf: programs, maps and pins."""
