"""argparse, as this command line has it: a wrong flag is one line, and --help shows what people need.

Loads nothing else, so that help comes at once.
"""

import argparse
from collections.abc import Sequence
from typing import Any

from cavga.errors import UsageError

HELP_POSITION = 26  # column where the help of a flag begins


class Rare(str):
    """The help of a flag that --help-all alone shows."""

    __slots__ = ()


class Formatter(argparse.RawDescriptionHelpFormatter):
    """argparse's, with room for the names of flags."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=HELP_POSITION)


class OneLineParser(argparse.ArgumentParser):
    """argparse, but a wrong flag is one line instead of the whole usage, and rare flags have a help of their own."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, formatter_class=Formatter)
        self._positionals.title, self._optionals.title = "arguments", "flags"

    def error(self, message: str) -> Any:
        """Raise UsageError."""
        raise UsageError(f"{message} (see `{self.prog} --help`)")

    def add_help_all(self) -> None:
        """Add --help-all; without a rare flag it is as --help, and not named there."""
        text = "show every flag, and exit" if self._rare() else argparse.SUPPRESS
        self.add_argument("--help-all", action=_HelpAll, help=text)

    def format_help(self) -> str:
        """The help without rare flags."""
        rare = self._rare()
        if not rare:
            return super().format_help()
        shown = [action for action in self._actions if action not in rare]
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, shown, [])
        formatter.add_text(self.description)
        for heading, is_flag in (("arguments", False), ("flags", True)):
            formatter.start_section(heading)
            formatter.add_arguments([action for action in shown if bool(action.option_strings) is is_flag])
            formatter.end_section()
        formatter.add_text(f"{self.epilog}\n{len(rare)} more: {self.prog} --help-all")
        return formatter.format_help()

    def format_help_all(self) -> str:
        """The help with every flag."""
        return super().format_help()

    def _rare(self) -> list[argparse.Action]:
        return [action for action in self._actions if isinstance(action.help, Rare)]


class _HelpAll(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, **settings: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, **settings)

    def __call__(self, parser: argparse.ArgumentParser, *_values: Any) -> None:
        assert isinstance(parser, OneLineParser)
        print(parser.format_help_all(), end="")
        parser.exit()
