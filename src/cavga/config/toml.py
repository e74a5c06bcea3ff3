"""Configurations as TOML files."""

from pathlib import Path
from typing import Any

from cavga.config.schema import SECTIONS, RunConfig, as_dict
from cavga.errors import DataError, UsageError
from cavga.regular_files import read_regular
from cavga.structured_files import StructureError, parse_toml


def read_toml(path: Path) -> tuple[str | None, dict[str, dict[str, Any]]]:
    """A configuration file: its preset, if it names one, and its overrides."""
    try:
        content = parse_toml(read_regular(path))
    except FileNotFoundError:
        raise UsageError(f"no such configuration file: {path}") from None
    except (StructureError, DataError, OSError) as error:
        raise UsageError(f"{path} is not a readable TOML file: {error}") from None
    preset = content.pop("preset", None)
    if not isinstance(preset, str | None):
        raise UsageError(f"{path}: preset: expected a name, got {preset!r}")
    for name, values in content.items():
        if not isinstance(values, dict):
            raise UsageError(f"{path}: {name!r} stands outside a section; the sections are {', '.join(SECTIONS)}")
    return preset, content


def write_toml(config: RunConfig) -> str:
    """The whole configuration as TOML; None is written as an absent key."""
    lines = [f"preset = {_toml(config.preset)}"]
    for section, values in as_dict(config).items():
        if section != "preset":
            lines += ["", f"[{section}]"]
            lines += [f"{key} = {_toml(value)}" for key, value in values.items() if value is not None]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return repr(value)
