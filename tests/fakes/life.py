"""Life of one daemon: its effects are counted, and at a chosen one it dies as by SIGKILL.

From then on every effect raises and nothing happens any more: no undo, no clean-up, no answer. The next daemon gets
another Life.
"""


class Killed(BaseException):
    """The daemon is dead. No Exception, so that no handler of the product can catch it and go on."""


class Life:
    """`effects` are what this daemon has done: kernel requests, ledger operations, IPAM calls, answers."""

    def __init__(self) -> None:
        self.effects: list[str] = []
        self.dead = False
        self._last = 0

    def die_before(self, number: int) -> None:
        """Die when the `number`-th effect from now on is due, counting from 1; 0 for never."""
        self._last = len(self.effects) + number if number else 0

    def effect(self, what: str) -> None:
        """Call this before each effect."""
        if not self.dead:
            self.effects.append(what)
            self.dead = len(self.effects) == self._last
        if self.dead:
            raise Killed(what)
