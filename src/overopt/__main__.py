"""`python -m overopt` is the command `overopt`."""

import sys

from overopt.cli import main

if __name__ == "__main__":
    sys.exit(main())
