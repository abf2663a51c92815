"""Parts of pyroute2 without the whole: only what is asked for is imported.

`import pyroute2` also loads its databases, firewalls and a DHCP client, which is half of the time in which the CNI
daemon starts, and a quarter of its memory (docs/performance.md). Python runs a package's own file before that of any
part, except for a package that it knows already: so it is made known here, and its file is not run.
"""

import importlib
import importlib.util
import sys
from typing import Any

_PACKAGE = "pyroute2"


def part(name: str) -> Any:
    """Return the module of this name within pyroute2, as in `netlink.rtnl.ifinfmsg`."""
    if _PACKAGE not in sys.modules:
        spec = importlib.util.find_spec(_PACKAGE)
        if spec is None:
            raise ModuleNotFoundError(f"No module named {_PACKAGE!r}", name=_PACKAGE)
        sys.modules[_PACKAGE] = importlib.util.module_from_spec(spec)
    return importlib.import_module(f"{_PACKAGE}.{name}")
