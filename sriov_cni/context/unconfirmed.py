"""Attachments whose runtime may not have heard of them yet: made, and no shim has said that the answer is printed.

The runtime can end one already, since it may have lost patience: then the shim is not to say that it succeeded, and
what its runtime attached since under the same name is not to be taken back for it. A timeout is evidence of nothing
here: a shim that is stopped for an hour goes on where it was.
"""

Key = tuple[str, str]
"""Container ID and interface name, which is what an attachment is known by (CNI spec 1.1, "CNI operations")."""


class Unheard:
    """For any thread: each step is one operation on a dict."""

    def __init__(self) -> None:
        self._calls: dict[Key, object] = {}

    def add(self, key: Key, call: object) -> None:
        """`call` has made this attachment. While its VF's lock is held, so that nobody has ended it before."""
        self._calls[key] = call

    def end(self, key: Key) -> None:
        """The attachment is being ended."""
        self._calls.pop(key, None)

    def holds(self, key: Key, call: object) -> bool:
        """Whether what `call` attached is attached still."""
        return self._calls.get(key) is call
