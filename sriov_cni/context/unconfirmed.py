"""Unconfirmed attachments: made, but no shim has confirmed yet that the answer was printed.

The runtime may already end one, since it may have lost patience. Then the shim must not report success, and what the
runtime has attached since under the same name must not be taken back for it. A timeout proves nothing here: a shim that
is stopped for an hour continues where it was.
"""

Key = tuple[str, str]
"""Container ID and interface name, which identify an attachment (CNI spec 1.1, "CNI operations")."""


class Unheard:
    """Unconfirmed attachments and their calls. For any thread: each step is one operation on a dict."""

    def __init__(self) -> None:
        self._calls: dict[Key, object] = {}

    def add(self, key: Key, call: object) -> None:
        """Note that `call` has made this attachment. Under its VF's lock, so that nobody has ended it before."""
        self._calls[key] = call

    def end(self, key: Key) -> None:
        """Note that the attachment is being ended."""
        self._calls.pop(key, None)

    def holds(self, key: Key, call: object) -> bool:
        """Report whether the attachment that `call` made still exists."""
        return self._calls.get(key) is call
