"""`python -m cavga`."""

import sys

from cavga.cli import main

sys.exit(main())
