"""`python -m sriovctl`: the same program as the console script."""

import sys

from sriovctl import app

if __name__ == "__main__":
    sys.exit(app.main())
