"""``python -m tinygrad_bn``: the command line, where scripts are not on the path."""

import sys

from tinygrad_bn.cli import main

if __name__ == "__main__":
    sys.exit(main())
