"""`python -m cavga`."""

import sys

from cavga.cli.main import main

sys.exit(main())
