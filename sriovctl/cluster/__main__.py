"""`python -m sriovctl.cluster`: the same program as the console script."""

import sys

from sriovctl.cluster import app

if __name__ == "__main__":
    sys.exit(app.main())
