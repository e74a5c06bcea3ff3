import pytest

from cavga.errors import DataError
from cavga.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a b.png", "a b.png"),
        ("größe 大.png", "größe 大.png"),
        ("a\nb", r"a\nb"),
        ("\x1b[2Jx", r"\x1b[2Jx"),
        ("gr\udcfc", r"gr\xfc"),
        ("\u202egnp", r"\u202egnp"),
        ("\u2028", r"\u2028"),
    ],
)
def test_what_a_terminal_would_obey_is_an_escape(text, shown):
    assert printable(text) == shown


def test_the_message_of_an_error_is_one_line():
    assert str(DataError("a\n\x1b[31mb: is empty")) == r"a\n\x1b[31mb: is empty"
