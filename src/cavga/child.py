"""`python -m cavga.child COMMAND ...`: a command as the child of a server.

It says how far it is as JSON on stderr, and ends when its stdin closes, which happens however its parent ends.
"""

import os
import signal
import sys
import threading

from cavga.__main__ import run
from cavga.cli.waiting import AS_JSON, PROGRESS_VARIABLE


def main() -> None:
    """Run the command of this process's arguments."""
    os.environ[PROGRESS_VARIABLE] = AS_JSON
    threading.Thread(target=_end_with_parent, daemon=True).start()
    run()


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
