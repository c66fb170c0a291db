"""`python -m sfm` is `sfm`."""

import sys

from sfm.cli import main

if __name__ == "__main__":
    sys.exit(main())
