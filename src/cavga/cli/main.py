"""The `cavga` command: a command reads its flags, calls one library function, prints the result.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 bad data, 4 done in part, 130 interrupted, 143 terminated.
"""

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec

from cavga._version import __version__
from cavga.cli import console
from cavga.cli.console import safe_streams
from cavga.cli.outcome import FAILED, INTERRUPTED, TERMINATED, Outcome
from cavga.cli.parser import OneLineParser
from cavga.cli.signals import stoppable
from cavga.errors import CavgaError, UsageError, unknown_name

COMMANDS = {  # a command is a module of cavga.cli.commands, and one line here, under what it is for
    "to begin": {
        "demo": "train and evaluate on the bundled photographs",
        "check": "list what is in a data set and everything wrong with it",
        "train": "learn what normal looks like from good images",
        "predict": "score images and folders",
        "evaluate": "measure a run, or maps made elsewhere, on labelled test images",
    },
    "in use": {
        "calibrate": "set the thresholds anew, by good photographs of now or as given",
        "drift": "say whether scores are still like those that set the thresholds",
        "compare": "say whether one of two evaluations of the same images is better",
        "profile": "measure where the time of a prediction goes",
        "serve": "score photographs that come over HTTP",
    },
    "to learn from use": {
        "mark": "say which photographs are bad or good",
        "refit": "learn what was marked, as a new version of a run",
        "versions": "list what refits made of a run",
        "use": "go back, or forth, to a version of a run",
        "suggest": "say which photographs to mark next",
    },
    "on other machines": {
        "export": "write a trained model as one file for runtimes without torch",
        "bundle": "collect all that predicting needs on a machine without network",
    },
    "the paper": {
        "benchmark": "measure a table of the paper, or one of our own, as a page",
        "pretrain": "train the DC-GAN parts on a folder of any images",
    },
}
_EXAMPLE = """example:
  cavga train photos/ --output runs/photos
  cavga predict runs/photos new/ --output results --overlays

`cavga COMMAND --help` says more."""
SPIN_COUNT = "10000"  # of libgomp, whose own is 30 times as high; on idle cores either is as fast
# They resize photographs in threads of their own. Those of NumPy's OpenBLAS, which each of them would start, wait for
# one another, on busy cores by half a second a photograph.
DECODING = (["predict"], ["serve"])
_EXTRAS = ("torch", "torchvision", "sklearn", "scipy", "jaxtyping", "skimage", "onnx", "onnxscript")
_HINTS = {  # command -> how an interrupted one goes on
    "train": "; the same command with --resume goes on from the last checkpoint, or from the start if there is none",
    "pretrain": "; the same command with --resume goes on from the last checkpoint",
    "benchmark": "; the same command goes on with the experiment that was begun",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # Threads of torch wait for one another by spinning. Where others compute too that takes the cores from all.
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    if arguments[:1] in DECODING:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
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
    known = _known()
    names = {name: text for commands in known.values() for name, text in commands.items()}
    parser = OneLineParser(
        prog="cavga", usage="cavga COMMAND ...", description=_overview(known), epilog=_EXAMPLE, add_help=False
    )
    parser.add_argument("-h", "--help", action="help", help=argparse.SUPPRESS)
    parser.add_help_all()
    parser.add_argument("--version", action="version", version=f"cavga {__version__}", help=argparse.SUPPRESS)
    subparsers = parser.add_subparsers(dest="command", parser_class=OneLineParser, help=argparse.SUPPRESS)
    words = [word for word in arguments if not word.startswith("-")]
    if words and words[0] not in names:
        raise unknown_name("command", words[0], names)
    for name in words[:1]:  # the others are not loaded: help would have to wait for them
        command = subparsers.add_parser(name, prog=f"cavga {name}", description=f"{names[name].capitalize()}.")
        import_module(f"cavga.cli.commands.{name}").add_flags(command)
        command.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else")
        command.add_help_all()
    args, rest = parser.parse_known_args(arguments)
    if rest and ("later_words" not in args or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        getattr(args, args.later_words).extend(rest)
    if args.command is None:
        parser.print_help(sys.stderr)
        raise UsageError(f"no command given: expected one of {', '.join(names)}")
    return args


def _known() -> dict[str, dict[str, str]]:
    """COMMANDS that are there: the paper's tables can be left out of a copy of the package."""
    return {
        heading: {name: text for name, text in commands.items() if find_spec(f"cavga.cli.commands.{name}")}
        for heading, commands in COMMANDS.items()
    }


def _overview(known: Mapping[str, Mapping[str, str]]) -> str:
    lines = ["Anomaly detection and localization from photographs of what is good (CAVGA)."]
    for heading, commands in known.items():
        lines += ["", f"{heading}:", *(f"  {name:<11}{text}" for name, text in commands.items())]
    return "\n".join(lines)
