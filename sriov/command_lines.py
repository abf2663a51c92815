"""Command lines of programs that have commands. Pure."""

from collections.abc import Collection, Sequence


def command_first(words: Sequence[str], commands: Collection[str], valued: Collection[str]) -> list[str]:
    """Put the command before the options that were written before it. `valued` are options that take the next word."""
    for place, word in enumerate(words):
        if word == "--":
            break
        if word in commands and (place == 0 or words[place - 1] not in valued):
            return [word, *words[:place], *words[place + 1 :]]
    return list(words)
