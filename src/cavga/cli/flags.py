"""Command-line flags from the configuration's dataclasses, so that a default is written once."""

import argparse
from collections.abc import Callable
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from cavga.cli.parser import Rare
from cavga.config.fields import parse_image_size
from cavga.config.presets import PRESETS, make_config
from cavga.config.schema import DEVICES, SECTIONS, RunConfig
from cavga.config.toml import read_toml
from cavga.data.readers.layouts import LAYOUTS
from cavga.errors import UsageError, unknown_name

SEPARATOR = ","
WIDEST = 24  # characters of names to choose from that stand beside a flag
CHOICES_OF_DATA = {"layout": tuple(LAYOUTS)}  # fields whose names the configuration does not know


def add_config_flags(parser: argparse.ArgumentParser, *, leave_out: tuple[str, ...] = ()) -> None:
    """Add --preset, --config and one flag for every field of every section; --help shows the everyday ones."""
    parser.add_argument(
        "--preset", default=None, metavar="NAME", help=Rare(f"{' or '.join(PRESETS)}; default recommended")
    )
    parser.add_argument("--config", type=Path, default=None, metavar="FILE", help=Rare("settings from a TOML file"))
    add_setting_flags(parser, lambda name: name not in leave_out)


def add_setting_flags(
    parser: argparse.ArgumentParser, is_wanted: Callable[[str], bool], shown: RunConfig | None = None
) -> None:
    """Add one flag for every field that is wanted; its help says the default of `shown`."""
    for section in SECTIONS:
        values = getattr(shown or RunConfig(), section)
        part = type(values)
        wanted = [item for item in fields(part) if is_wanted(item.name)]
        if wanted:
            group, hints = parser.add_argument_group(section, part.__doc__), get_type_hints(part)
            for item in wanted:
                _add_flag(group, item, hints[item.name], default=getattr(values, item.name))


def config_from_flags(
    args: argparse.Namespace, defaults: Callable[[str], dict[str, dict[str, Any]]] = lambda _preset: {}
) -> RunConfig:
    """Defaults < preset < `defaults` of the command for that preset < TOML file < flags."""
    file_preset, file_overrides = read_toml(args.config) if args.config else (None, {})
    given = {
        section: {
            item.name: getattr(args, item.name)
            for item in fields(type(getattr(PRESETS["recommended"], section)))
            if hasattr(args, item.name)
        }
        for section in SECTIONS
    }
    preset = args.preset or file_preset or "recommended"
    return make_config(preset, defaults(preset), file_overrides, given)


def add_device_flag(parser: argparse.ArgumentParser) -> None:
    """Add --device."""
    parser.add_argument(
        "--device", type=one_of("device", DEVICES), default="auto", metavar="|".join(DEVICES),
        help="where to compute (default auto)",
    )  # fmt: skip


def of_text(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """A parser of a flag from one that raises UsageError."""

    def parsed(text: str) -> Any:
        try:
            return parse(text)
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


def one_of(what: str, names: tuple[str, ...]) -> Callable[[str], str]:
    """A parser of names that says the valid ones, nearest first."""

    def parse(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(str(unknown_name(what, text, names)))
        return text

    return parse


def _add_flag(group: "argparse._ArgumentGroup", item: Field[Any], hint: Any, *, default: Any) -> None:
    flag = "--" + item.name.replace("_", "-")
    types = [t for t in get_args(hint) if t is not type(None)] if type(None) in get_args(hint) else [hint]
    text = item.metadata["help"].replace("%", "%%")
    if default is not None:
        text += f" (default {_show(default)})"
    if not item.metadata["everyday"]:
        text = Rare(text)
    if types[0] is bool:
        group.add_argument(flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text)
        return
    choices = item.metadata["choices"] or CHOICES_OF_DATA.get(item.name)
    if choices:
        parse: Callable[[str], Any] = one_of(item.name.replace("_", " "), choices)
    elif item.name == "image_size":
        parse = of_text(parse_image_size)
    elif get_args(types[0]):
        parse = _tuple_parser(get_args(types[0])[0])
    else:
        parse = types[0]
    metavar = "|".join(choices) if choices else item.name.upper().rpartition("_")[2]
    if len(metavar) > WIDEST:
        metavar, text = "NAME", type(text)(f"{text}; one of {', '.join(choices or ())}")
    group.add_argument(flag, type=parse, default=argparse.SUPPRESS, metavar=metavar, help=text)


def _tuple_parser(kind: type) -> Callable[[str], tuple[Any, ...]]:
    def parse(text: str) -> tuple[Any, ...]:
        try:
            return tuple(kind(part) for part in text.split(SEPARATOR))
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected numbers separated by commas, got {text!r}") from None

    return parse


def _show(value: Any) -> str:
    if isinstance(value, tuple):
        return SEPARATOR.join(str(part) for part in value)
    return str(value)
