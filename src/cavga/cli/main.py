"""The `cavga` command: a command reads its flags, calls one library function, prints the result.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 bad data, 4 done in part, 130 interrupted, 143 terminated.
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

from cavga._version import __version__
from cavga.cli.flags import OneLineParser
from cavga.cli.outcome import FAILED, INTERRUPTED, TERMINATED, Outcome
from cavga.cli.signals import Terminated, sigterm_raises
from cavga.errors import CavgaError, UsageError, unknown_name

COMMANDS = {  # a command is a module of cavga.cli.commands, and one line here
    "demo": "train and evaluate on the bundled photographs",
    "check": "list what is in a data set and everything wrong with it",
    "train": "learn what normal looks like from good images",
    "evaluate": "measure a trained run, or maps made elsewhere, on labelled test images",
    "export": "write a trained model as one file for runtimes without torch",
    "predict": "score images and folders",
    "bundle": "collect a model and all that predicting needs, for a machine without network",
    "calibrate": "set the thresholds of a trained model by new photographs of good parts",
    "compare": "say whether one of two evaluations of the same images is better",
    "drift": "say whether the scores of now are still like those that set the thresholds",
    "profile": "measure where the time of a prediction goes",
    "pretrain": "train the DC-GAN parts on a folder of any images, for --gan-weights",
    "benchmark": "measure a table of the paper, or one of our own, and write it as a page",
}
_HINTS = {  # command -> how an interrupted one goes on
    "train": "; the same command with --resume goes on from the last checkpoint, or from the start if there is none",
    "pretrain": "; the same command with --resume goes on from the last checkpoint",
    "benchmark": "; the same command goes on with the experiment that was begun",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        args = parse(arguments)
        logging.basicConfig(stream=sys.stderr, format="cavga: %(message)s", level=logging.WARNING)
        logging.getLogger("cavga").setLevel(logging.WARNING if args.json else logging.INFO)
        with sigterm_raises():
            outcome: Outcome = args.run(args)
    except CavgaError as error:
        return _complain(str(error), error.exit_code)
    except KeyboardInterrupt as stop:
        word, exit_code = ("terminated", TERMINATED) if isinstance(stop, Terminated) else ("interrupted", INTERRUPTED)
        return _complain(word + _HINTS.get(arguments[0] if arguments else "", ""), exit_code)
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "torchvision", "sklearn", "scipy", "jaxtyping", "skimage", "onnx", "onnxscript"):
            raise
        return _complain(f"this needs {error.name}: pip install 'cavga[train]'", FAILED)
    except OSError as error:
        return _complain(f"{error.strerror or error}: {error.filename or 'a file could not be written'}", FAILED)
    _show(outcome, as_json=args.json)
    return outcome.exit_code


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the flags of one command; raises UsageError."""
    # The paper's tables can be left out of a copy of the package: what is not there is not listed.
    known = {name: text for name, text in COMMANDS.items() if find_spec(f"cavga.cli.commands.{name}")}
    parser = OneLineParser(prog="cavga", description="Anomaly detection and localization from good images (CAVGA).")
    parser.add_argument("--version", action="version", version=f"cavga {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=OneLineParser)
    words = [word for word in arguments if not word.startswith("-")]
    if words and words[0] not in known:
        raise unknown_name("command", words[0], known)
    for name, help_text in known.items():
        command = subparsers.add_parser(name, help=help_text, description=f"{help_text.capitalize()}.")
        command.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else")
        import_module(f"cavga.cli.commands.{name}").add_flags(command)
    args = parser.parse_args(arguments)
    if args.command is None:
        parser.print_help(sys.stderr)
        raise UsageError(f"no command given: expected one of {', '.join(known)}")
    return args


def _show(outcome: Outcome, *, as_json: bool) -> None:
    for problem in outcome.problems:
        print(f"cavga: left out: {problem}", file=sys.stderr)
    try:
        print(json.dumps(outcome.result) if as_json else outcome.text, flush=True)
    except BrokenPipeError:  # `cavga ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(message: str, exit_code: int) -> int:
    print(f"cavga: {message}", file=sys.stderr)
    return exit_code
