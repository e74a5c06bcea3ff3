"""Names and texts from outside, as one line that a terminal, a log or a page can show as it is."""

import unicodedata
from pathlib import PurePath

_HARMFUL = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}  # control, format (text direction too), half of a pair, line ends


def printable(text: str | PurePath) -> str:
    r"""One line: what a terminal would obey or cannot show is written as an escape, the rest stays as it is.

    Bytes of a file name that are not UTF-8 come out as \xfc, a new line as \n, a terminal's escape as \x1b.
    """
    return "".join(_shown(character) for character in str(text))


def _shown(character: str) -> str:
    if unicodedata.category(character) not in _HARMFUL:
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python holds a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
