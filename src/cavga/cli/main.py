"""The `cavga` command: a command reads its flags, calls one library function, prints the result.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 bad data, 4 done in part, 130 interrupted, 143 terminated.
"""

import argparse
import logging
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

from cavga._version import __version__
from cavga.cli import console
from cavga.cli.console import safe_streams
from cavga.cli.flags import OneLineParser
from cavga.cli.outcome import FAILED, INTERRUPTED, TERMINATED, Outcome
from cavga.cli.signals import stoppable
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
_EXTRAS = ("torch", "torchvision", "sklearn", "scipy", "jaxtyping", "skimage", "onnx", "onnxscript")
_HINTS = {  # command -> how an interrupted one goes on
    "train": "; the same command with --resume goes on from the last checkpoint, or from the start if there is none",
    "pretrain": "; the same command with --resume goes on from the last checkpoint",
    "benchmark": "; the same command goes on with the experiment that was begun",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # what is wrong with a picture is said by its own line
    with safe_streams(), stoppable() as stop:
        try:
            return _run(arguments)
        except KeyboardInterrupt:
            pass
        except Exception as error:
            # A signal that comes while a module is loaded can leave it as any other error.
            if stop.number is None:
                return _explain(error)
        word, exit_code = ("terminated", TERMINATED) if stop.is_termination else ("interrupted", INTERRUPTED)
        console.complain(word + _HINTS.get(arguments[0] if arguments else "", ""))
        return exit_code


def _run(arguments: list[str]) -> int:
    args = parse(arguments)
    with console.logs_shown(logging.WARNING if args.json else logging.INFO):
        outcome: Outcome = args.run(args)
    for problem in outcome.problems:
        console.complain(f"left out: {problem}")
    if args.json:
        console.show_json(outcome.result)
    else:
        console.show(outcome.lines)
    return outcome.exit_code


def _explain(error: Exception) -> int:
    """Say in one line what went wrong, and return the exit code; an error of our own making is raised."""
    match error:
        case CavgaError():
            console.complain(str(error))
            return error.exit_code
        case ModuleNotFoundError() if error.name in _EXTRAS:
            console.complain(f"this needs {error.name}: pip install 'cavga[train]'")
        case OSError():
            console.complain(f"{error.strerror or error}: {error.filename or 'a file could not be written'}")
        case _:
            raise error
    return FAILED


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
