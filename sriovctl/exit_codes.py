"""Exit statuses of sriovctl, for scripts; docs/sriovctl.md has the same table."""

import enum
import sys
from collections.abc import Callable

import click

from sriov import errors, layout


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


def ended(run: Callable[[], object], name: str) -> int:
    """Run a program's commands; returns the exit status, and prints the error that ended them."""
    try:
        status = run()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        print("ended", file=sys.stderr)
        return Exit.ENDED
    except errors.SriovError as error:
        print(layout.printable_lines(f"{name}: {error}"), file=sys.stderr)
        return Exit.UNREADABLE
    except BrokenPipeError:  # `sriovctl inventory | head`
        sys.stderr.close()
        return Exit.FINE
    return status if isinstance(status, int) else Exit.FINE
