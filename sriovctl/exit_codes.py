"""Exit statuses of sriovctl, for scripts; docs/sriovctl.md has the same table."""

import enum


class Exit(enum.IntEnum):
    """Exit status; click itself ends with 2 if the command line is wrong."""

    FINE = 0
    TROUBLE = 1
    USAGE = 2
    UNREADABLE = 3
    REFUSED = 4
    ENDED = 130


MEANING = {
    Exit.FINE: "done, and nothing is wrong",
    Exit.TROUBLE: "done, and something is wrong: an error that doctor found, a pod without its VF",
    Exit.USAGE: "the command line is wrong, or a file that it names",
    Exit.UNREADABLE: (
        "the node could not be read or changed, or too little was seen to say that nothing is wrong; "
        "the output says what is missing"
    ),
    Exit.REFUSED: "the change was refused, or the person at the terminal said no; nothing was changed",
    Exit.ENDED: "ended by Ctrl-C",
}
