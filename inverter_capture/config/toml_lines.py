"""What tomllib does not tell about a TOML text: on which line each setting stands, and how to mend what is no TOML."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

MAX_STATEMENT_LINES = 200
"""Where the search for line numbers gives up, since each further line costs a parse of all before it."""

SYNTAX_REMEDIES = {
    "Cannot declare": "write each [section] once; sections that can be repeated are written [[section]] each time",
    "Cannot overwrite": "it stands there twice: keep one",
    "Duplicate": "it stands there twice: keep one",
    "Expected newline": "write text in quotes, and one setting a line",
    "Illegal character": "end text on its line, with the quote that began it",
    "Invalid value": "write text in quotes; true, false and numbers without",
    "Unclosed": "close the bracket",
    "Unescaped": "write a backslash twice, or the text in single quotes",
}
"""By the beginning of tomllib's message."""


def explain_syntax(error: Exception, text: str, name: str) -> str:
    """A line for text that is no TOML."""
    message, _, place = str(error).rpartition(" (at ")
    if not message:  # an error of Python's own, from inside the parser
        what = "brackets within brackets" if isinstance(error, RecursionError) else "digits in a number"
        return f"{name}: not TOML: too many {what}: mend or remove that setting"
    remedies = (remedy for start, remedy in SYNTAX_REMEDIES.items() if message.startswith(start))
    remedy = next(remedies, 'write settings as name = "text", sections as [name]')
    line = place.removeprefix("line ").partition(",")[0]
    if not line.isdecimal():  # "end of document": what has not ended began further up
        line = next((str(first) for first, _, table in statements(text) if table is None), "")
        message, remedy = "no end", "close its quotes or brackets"
    return f"{name}{line and ':'}{line}: not TOML: {message}: {remedy}"


def find_lines(text: str) -> dict[tuple[str, int, str], int]:
    """The line of each section's header (empty key) and setting, by the section's name, number and key."""
    lines: dict[tuple[str, int, str], int] = {}
    last: dict[str, int] = {}
    for line, is_header, table in statements(text):
        for name, value in (table or {}).items():
            items = value if isinstance(value, list) else [value]
            if is_header and items is value:
                last[name] = last.get(name, -1) + 1
            lines.setdefault((name, last.get(name, 0), ""), line)
            for number, item in enumerate(items, last.get(name, 0)):
                if is_header and not item:
                    lines[name, number, ""] = line  # wins over a [name.key] above it
                for key in ("", *item) if isinstance(item, dict) else ("",):
                    lines.setdefault((name, number, key), line)
    return lines


def statements(text: str) -> Iterator[tuple[int, bool, dict[str, Any] | None]]:
    """Each statement of a TOML text: its first line, whether it is a header, and what it says under its header.

    None for what it says when it does not end. tomllib tells no lines, but it can tell whether a statement is complete:
    lines are added until it is. So nothing inside quotes or brackets can be taken for a setting.
    """
    import tomllib

    header, source, first = "", "", 1
    for line_number, line in enumerate(text.split("\n"), 1):
        source += line + "\n"
        is_header = source.lstrip().startswith("[")
        if is_header:
            header = ""
        try:
            table = tomllib.loads(header + source)
        except (ValueError, RecursionError):
            if line_number - first >= MAX_STATEMENT_LINES:
                return
            continue
        yield first, is_header, table
        if is_header:
            header = source
        source, first = "", line_number + 1
    if source:
        yield first, False, None
