"""`python -m green_code`: the same as the script `green-code`."""

from __future__ import annotations

import sys

from green_code.cli import main

if __name__ == "__main__":
    sys.exit(main())
