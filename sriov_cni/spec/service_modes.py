"""Ways in which a pod reaches Services: the values of the key `services`."""

import enum


class ServicesMode(enum.StrEnum):
    """`socket`: the pod's sockets are connected to a backend by programs of the kernel."""

    OFF = "off"
    SOCKET = "socket"
