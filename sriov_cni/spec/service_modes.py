"""Ways in which a pod reaches Services: the values of the key `services`."""

import enum


class ServicesMode(enum.StrEnum):
    """How a pod reaches the cluster's Services."""

    OFF = "off"
    SOCKET = "socket"
    """The CNI daemon's programs put a backend in the place of a Service when a socket connects."""
    HOST = "host"
    """The cluster's service ranges go by the host link, and the node's kube-proxy does the rest."""
