"""`python -m cavga`, and the command `cavga`."""

import os
import signal
import sys
from typing import NoReturn

_STOPPED = (130, 143)


def run() -> NoReturn:
    """Run the command of this process's arguments, and end the process."""
    try:
        from cavga.cli.main import main  # here, because Ctrl-C may come while it loads

        exit_code = main()
    except KeyboardInterrupt:
        exit_code = _STOPPED[0]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done and said: Python would print where it was interrupted
    if exit_code in _STOPPED:
        # Everything is cleared up, but Python would wait for threads that may be in the middle of a long read.
        os._exit(exit_code)
    sys.exit(exit_code)


if __name__ == "__main__":
    run()
