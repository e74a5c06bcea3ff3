"""One setting: a field with its help, and how a value from a file or a flag becomes what the field holds."""

import re
from dataclasses import field
from types import UnionType
from typing import Any, get_args, get_type_hints

from cavga.errors import UsageError, unknown_name

IMAGE_SIZES = "auto, N or HxW in pixels"


def setting(default: Any, help: str, choices: tuple[str, ...] | None = None, *, everyday: bool = False) -> Any:
    """A config field with its help text, the names it may take, and whether people need it every day."""
    return field(default=default, metadata={"help": help, "choices": choices, "everyday": everyday})


def convert(part: type, name: str, value: Any) -> Any:
    """A value from TOML or a flag as the field `name` of the section `part` has it; raises UsageError."""
    hint = get_type_hints(part)[name]
    value = tuple(value) if isinstance(value, list) else value
    if name == "image_size" and isinstance(value, int | str):
        value = parse_image_size(str(value))
    if not _fits(value, hint):
        expected = getattr(hint, "__name__", str(hint)) if not get_args(hint) else str(hint).removesuffix(" | None")
        expected = IMAGE_SIZES if name == "image_size" else expected
        raise UsageError(f"{name}: expected {expected}, got {value!r}")
    return float(value) if hint is float else value


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is what a field's type says; a whole number is also a float, a bool is no number."""
    arguments = get_args(hint)
    if isinstance(hint, UnionType):
        return any(_fits(value, one) for one in arguments)
    if arguments:  # a tuple
        kinds = [arguments[0]] * len(value) if isinstance(value, tuple) and arguments[-1] is ... else list(arguments)
        return isinstance(value, tuple) and len(value) == len(kinds) and all(map(_fits, value, kinds))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint) and not (hint is int and isinstance(value, bool))


def check_choice(name: str, value: Any, choices: tuple[str, ...] | None) -> None:
    """Raise UsageError, which says the valid ones, if a value is none of the names its field may take."""
    if choices and value is not None and value not in choices:
        raise unknown_name(name, str(value), choices)


def parse_size(text: str) -> tuple[int, int]:
    """Height and width from "256" or "128x512"; raises UsageError."""
    parts = text.lower().split("x")
    if len(parts) not in (1, 2) or not all(part.isdecimal() for part in parts):
        raise UsageError(f"expected N or HxW in pixels, got {text!r}")
    return int(parts[0]), int(parts[-1])


def parse_image_size(text: str) -> tuple[int, int] | str:
    """As `parse_size`, or "auto"; raises UsageError."""
    if text == "auto":
        return text
    try:
        return parse_size(text)
    except UsageError:
        raise UsageError(f"image_size: expected {IMAGE_SIZES}, got {text!r}") from None


def parse_rectangle(text: str) -> tuple[int, int, int, int] | None:
    """x, y, width and height from "40,10,200,100"; None if it is no list of numbers, and so the path of a mask.

    Raises UsageError for a list of numbers that is no rectangle.
    """
    if not re.fullmatch(r"[-+\d.\s]+(,[-+\d.\s]*)+", text):
        return None
    parts = [part.strip() for part in text.split(",")]
    numbers = [int(part) for part in parts if part.isdecimal()]
    if len(parts) != 4 or len(numbers) != 4 or 0 in numbers[2:]:
        raise UsageError(f"roi: expected x,y,width,height in pixels of a photograph, or a mask image, got {text!r}")
    return numbers[0], numbers[1], numbers[2], numbers[3]
