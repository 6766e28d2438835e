"""Minifies JavaScript like `jsmin`, which LuCI's build system runs on every file, with the same limits.

It recognises only strings, comments and regular expressions, the latter by the character before them. Code that it
misreads must be written in another way.
"""

from __future__ import annotations

BEFORE_REGEX = frozenset(b"(,=:[!&|?+-~*/{};")
QUOTES = frozenset(b"'\"`")
_SPACE, _NEWLINE, _SLASH, _STAR, _BACKSLASH = b" \n/*\\"


class JsminError(Exception):
    """A comment or literal has no end."""


def jsmin(source: bytes) -> bytes:
    """The minified program. Raises JsminError."""
    return b"".join(_joined(_tokens(source.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n"))))


def _tokens(source: bytes) -> list[bytes]:
    """Single characters, strings and regular expressions. White space becomes a newline if it has one, or a space."""
    tokens: list[bytes] = []
    at = 0
    before = _NEWLINE
    """The last character that is not white space."""
    while at < len(source):
        end = _end_of_space(source, at)
        if end > at:
            blank = b"\n" if b"\n" in source[at:end] else b" "
            tokens.append(blank)
        else:
            end = _end_of_token(source, at, before)
            tokens.append(source[at:end])
            before = source[end - 1]
        at = end
    return tokens


def _end_of_space(source: bytes, at: int) -> int:
    """The end of white space, control characters and comments that begin here."""
    while at < len(source):
        if source[at] <= _SPACE:
            at += 1
        elif source.startswith(b"//", at):
            end = source.find(b"\n", at)
            at = len(source) if end < 0 else end
        elif source.startswith(b"/*", at):
            end = source.find(b"*/", at + 2)
            if end < 0:
                raise JsminError("a comment has no end")
            at = end + 2
        else:
            break
    return at


def _end_of_token(source: bytes, at: int, before: int) -> int:
    if source[at] in QUOTES:
        return _end_of_literal(source, at, source[at])
    if source[at] == _SLASH and before in BEFORE_REGEX:
        return _end_of_literal(source, at, _SLASH)
    return at + 1


def _end_of_literal(source: bytes, at: int, closing: int) -> int:
    """The end of a string or regular expression that begins here."""
    in_set = False
    end = at + 1
    while end < len(source) and (in_set or source[end] != closing):
        if source[end] == _BACKSLASH:
            end += 1
        elif closing == _SLASH and source[end] in b"[]":
            in_set = source[end] == b"["[0]
        if closing != ord("`") and end < len(source) and source[end] == _NEWLINE:
            raise JsminError(f"a literal has no end: {source[at:end].decode(errors='replace')}")
        end += 1
    if end >= len(source):
        raise JsminError(f"a literal has no end: {source[at : at + 20].decode(errors='replace')}")
    return end + 1


def _joined(tokens: list[bytes]) -> list[bytes]:
    """The tokens without white space that is not needed."""
    kept: list[bytes] = []
    for index, token in enumerate(tokens):
        following = tokens[index + 1][:1] if index + 1 < len(tokens) else b""
        last = kept[-1][-1:] if kept else b""
        if token == b" ":
            signs = last == following and last in (b"+", b"-")
            needed = bool(last and following) and ((_is_word(last) and _is_word(following)) or signs)
        elif token == b"\n":
            ends = _is_word(last) or last in (b"}", b"]", b")", b"+", b"-", b'"', b"'", b"`")
            begins = _is_word(following) or following in (b"{", b"[", b"(", b"+", b"-", b"!", b"~")
            needed = bool(last and following) and ends and begins
        else:
            needed = True
        if needed:
            kept.append(token)
    return kept


def _is_word(letter: bytes) -> bool:
    return letter.isalnum() or letter in (b"_", b"$", b"\\") or letter > b"~"
