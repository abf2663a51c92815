"""Program `kubectl_complete-sriov`, which kubectl runs for the completion of `kubectl sriov`.

It prints a candidate in each line and then a directive of cobra's: 4, no file names (kubectl, pkg/cmd/plugin).
"""

import sys
from collections.abc import Sequence

import click.shell_completion

from sriovctl.cluster import app

_NO_FILES = ":4"


def candidates(words: Sequence[str]) -> list[str]:
    """Return what the last of the words, which is being typed, may become."""
    *before, incomplete = words or [""]
    completing = click.shell_completion.ShellComplete(app.program, {}, "kubectl-sriov", "")
    return [each.value for each in completing.get_completions(before, incomplete)]


def main() -> int:
    print(*candidates(sys.argv[1:]), _NO_FILES, sep="\n")
    return 0
