"""Parts that every daemon needs: log, HTTP endpoint, metrics, signals, systemd, sockets, background tasks."""
