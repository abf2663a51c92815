"""What daemons are made of: log, HTTP endpoint, metrics, signals, systemd, sockets, background tasks."""
