"""The sum that an exported file carries of all its other bytes, so that no second file is needed. No torch.

A mark near the start says that there is a sum at the end: a change of any one bit, the cut of an end or a file written
anew by another program leaves the mark without its sum. The words are part of the format: an entry of the metadata of
an ONNX model, which can stand anywhere among its fields, and a comment of an OpenVINO model's XML.
"""

import hashlib

MARK = b"cavga_sealed"
_SUM = b"cavga_sha256"
_XML_START = b"?>"


def sealed_onnx(content: bytes) -> bytes:
    """A serialised ONNX model with a mark and a sum."""
    marked = _entry(MARK, b"sha256") + content
    return marked + _entry(_SUM, _hash(marked))


def sealed_xml(content: bytes, companion: bytes) -> bytes:
    """The XML of an OpenVINO model, with a mark and a sum that is of its .bin too."""
    marked = content.replace(_XML_START, _XML_START + b"\n<!-- " + MARK + b" -->", 1)
    return marked + _comment(_hash(marked, companion))


def is_intact(content: bytes, companion: bytes | None = None) -> bool | None:
    """Whether a file is as it was sealed; None for one that has no seal."""
    end = _entry if companion is None else lambda _name, value: _comment(value)
    length = len(end(_SUM, b"0" * 64))
    found, body = content[-length:], content[:-length]
    if found == end(_SUM, _hash(body, companion or b"")):
        return True
    return False if MARK in content or _SUM in content else None


def _hash(*parts: bytes) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest().encode()


def _entry(key: bytes, value: bytes) -> bytes:
    """Field 14 of an ONNX ModelProto, metadata_props, as protobuf writes it; all lengths are below 128."""
    pair = b"\x0a" + bytes([len(key)]) + key + b"\x12" + bytes([len(value)]) + value
    return b"\x72" + bytes([len(pair)]) + pair


def _comment(value: bytes) -> bytes:
    return b"<!-- " + _SUM + b" " + value + b" -->\n"
