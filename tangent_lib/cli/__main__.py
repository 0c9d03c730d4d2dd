"""``python -m tangent_lib.cli``: the command ``tangent`` where a module is asked for, as ``accelerate launch`` does."""

import sys

from tangent_lib.cli import main

if __name__ == "__main__":
    sys.exit(main())
