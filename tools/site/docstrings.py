"""Docstrings as mkdocstrings reads them: entries that explain several names at once, one by one."""

import re
from typing import Any

import griffe

_GROUP = re.compile(
    r"^(?P<indent> +)(?P<names>\*{0,2}\w+(?:, \*{0,2}\w+)+): (?P<text>.*(?:\n(?P=indent) +.*)*)",
    re.MULTILINE,
)


class SplitGroups(griffe.Extension):
    """Gives each name of "text, pair: the columns of ..." an entry with that explanation.

    The entries are parsed one name at a time: a second one would be taken for a type.
    """

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of an object that was read."""
        if obj.docstring is not None:
            obj.docstring.value = split_groups(obj.docstring.value)


def split_groups(docstring: str) -> str:
    """Return a docstring in which each entry of a section explains one name."""
    return _GROUP.sub(
        lambda group: "\n".join(
            f"{group['indent']}{name}: {group['text']}" for name in group["names"].split(", ")
        ),
        docstring,
    )
