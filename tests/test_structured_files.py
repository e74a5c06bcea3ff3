"""What is parsed from outside: one error for whatever is wrong, and no other place that parses."""

import ast
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
import pytest

import cavga
from cavga.config.toml import read_toml
from cavga.errors import UsageError
from cavga.structured_files import Finite, StructureError, parse_array, parse_arrays, parse_json, parse_toml

SOURCE = Path(cavga.__file__).parent
PARSERS = {"json.load", "json.loads", "tomllib.load", "tomllib.loads", "np.load", "pickle.load", "pickle.loads",
           "msgspec.json.decode", "ast.literal_eval"}  # fmt: skip
OWN_FILES = {  # arrays that the same process wrote, or a cache that is checked by its name
    ("data/dataset.py", "np.load"), ("evaluation/results.py", "np.load"),
}  # fmt: skip


class Scored(msgspec.Struct):
    path: str
    score: Finite
    count: int = 0


def test_what_fits_is_read():
    assert parse_json(b'{"path": "a", "score": 1, "other": null}', Scored) == Scored("a", 1.0)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"nonsense", b"\xff\xfe\x00", b"[" * 200_000, b'{"a":' * 100_000, b"1" * 5000,
        b'{"path": "a"}', b'{"path": 1, "score": 1}', b'{"path": "a", "score": true}', b'{"path": "a", "score": "1"}',
        b'{"path": "a", "score": NaN}', b'{"path": "a", "score": 1e999}', b'{"path": "a", "score": 1, "count": 1.5}',
        b'{"path": "a", "score": 1, "count": true}', b"[]", b"null",
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_kind_of_error(content):
    with pytest.raises(StructureError):
        parse_json(content, Scored)


def test_too_large_a_document_is_not_parsed(monkeypatch):
    monkeypatch.setattr("cavga.structured_files.MAX_BYTES", 10)
    for parse in (lambda text: parse_json(text, dict), parse_toml):
        with pytest.raises(StructureError, match="at most 10 bytes"):
            parse(b" " * 11)


@pytest.mark.parametrize(
    "content", [b"a = " + b"1" * 5000, b"a = " + b"[" * 50_000, b"\xff", b"a = ", b"a = 1\na = 2", b"\x00"]
)
def test_a_damaged_configuration_is_wrong_usage(tmp_path, content):
    (tmp_path / "c.toml").write_bytes(content)
    with pytest.raises(UsageError, match="not a readable TOML file"):
        read_toml(tmp_path / "c.toml")


def test_a_configuration_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "c.toml").write_bytes(b'\xef\xbb\xbfpreset = "paper"\n')
    assert read_toml(tmp_path / "c.toml") == ("paper", {})


def test_damaged_arrays_are_one_kind_of_error(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(6.0))
    np.savez_compressed(tmp_path / "a.npz", rows=np.arange(300), edges=np.ones(50, np.float32))
    for name, parse in (("a.npy", parse_array), ("a.npz", parse_arrays)):
        content = (tmp_path / name).read_bytes()
        parse(content)
        for position in range(0, len(content), 3):
            for value in (0, content[position] ^ 0x10, 255):
                changed = content[:position] + bytes([value]) + content[position + 1 :]
                with suppress(StructureError):  # or it is read: NumPy's format has no sum
                    parse(changed)
    for content in (
        b"",
        b"\x93NUMPY\x01\x00\x46\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }" + b" " * 15,
    ):
        with pytest.raises(StructureError):
            parse_array(content)


def test_nothing_else_parses():
    found = set()
    for path in SOURCE.rglob("*.py"):
        name = path.relative_to(SOURCE).as_posix()
        calls = (ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                 if isinstance(node, ast.Call))  # fmt: skip
        found |= {(name, call) for call in calls if call in PARSERS and name != "structured_files.py"}
    assert found - OWN_FILES == set(), "read it by cavga.structured_files"
