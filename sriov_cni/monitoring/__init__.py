"""The CNI daemon's HTTP endpoint and metrics."""
