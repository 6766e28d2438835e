"""Converts translations to the format that LuCI reads, as LuCI's po2lmo does: python po2lmo.py FILE.po FILE.lmo

A .lmo file has the translations, each filled up with zeros to a multiple of four bytes; then the index, in order of the
hashes: for each translation four 32-bit big-endian numbers (the hash of its original, the number of its forms, its
offset, its length); then the offset of the index. Source: po2lmo.c and lib/lmo.c in LuCI's modules/luci-base/src.
"""

from __future__ import annotations

import json
import re
import struct
import sys
from pathlib import Path

_ENTRY = re.compile(r'^msgid (".*"(?:\n".*")*)\nmsgstr (".*"(?:\n".*")*)$', re.MULTILINE)
_MASK = 0xFFFFFFFF


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit("usage: python po2lmo.py FILE.po FILE.lmo")
    Path(sys.argv[2]).write_bytes(lmo(translations(Path(sys.argv[1]))))


def translations(path: Path) -> dict[str, str]:
    """The translated texts of a .po file, with their translations."""
    pairs = [tuple(map(_read, entry)) for entry in _ENTRY.findall(path.read_text(encoding="utf-8"))]
    return {original: translation for original, translation in pairs if original and translation}


def lmo(texts: dict[str, str]) -> bytes:
    """The content of a .lmo file. A text that is translated by itself is left out."""
    data, index = b"", []
    for original, translation in texts.items():
        content = translation.encode()
        if original != translation:
            index.append((superfasthash(original.encode()), 1, len(data), len(content)))
            data += content + bytes(-len(content) % 4)
    return data + b"".join(struct.pack(">4I", *entry) for entry in sorted(index)) + struct.pack(">I", len(data))


def superfasthash(data: bytes) -> int:
    """Paul Hsieh's SuperFastHash of 32 bits, begun with the length. Bytes at the end of odd lengths are signed."""
    value = len(data)
    if not data:
        return 0
    whole = len(data) & ~3
    for low, high in struct.iter_unpack("<2H", data[:whole]):
        value = value + low & _MASK
        value = (value << 16 ^ high << 11 ^ value) & _MASK
        value = value + (value >> 11) & _MASK
    rest = data[whole:]
    if len(rest) == 3:
        low, last = struct.unpack("<Hb", rest)
        value = value + low & _MASK
        value = (value ^ value << 16 ^ last << 18) & _MASK
        value = value + (value >> 11)
    elif len(rest) == 2:
        value = value + struct.unpack("<H", rest)[0] & _MASK
        value = (value ^ value << 11) & _MASK
        value = value + (value >> 17)
    elif rest:
        value = value + struct.unpack("<b", rest)[0] & _MASK
        value = (value ^ value << 10) & _MASK
        value = value + (value >> 1)
    for left, right in ((3, 5), (4, 17), (25, 6)):
        value = (value ^ value << left) & _MASK
        value = value + (value >> right) & _MASK
    return value


def _read(quoted: str) -> str:
    return "".join(json.loads(line) for line in quoted.splitlines())


if __name__ == "__main__":
    main()
