"""The `cavga` command."""

from cavga.cli.main import main, parse

__all__ = ["main", "parse"]
