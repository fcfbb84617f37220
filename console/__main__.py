"""``python -m console``: the command line where there is no window."""

import sys

from console.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
