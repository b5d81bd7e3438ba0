"""Markup that cannot be broken by what it shows: whatever is not markup already is escaped on its way in.

The one place where text becomes HTML or SVG. Nothing else in this room may put ``<`` and a name together.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
"""What XML cannot hold at all, escaped or not."""


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def clean(text: str) -> str:
    """Text without characters that no document can hold."""
    return FORBIDDEN.sub("\ufffd", text)


def escape(value: object) -> Markup:
    """Text as markup; markup as it is."""
    return value if isinstance(value, Markup) else Markup(html.escape(clean(str(value))))


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """An element. ``class_`` and ``for_`` lose their underscore, other underscores become dashes; an attribute that is
    None is left out."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(clean(str(value)))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = "".join(escape(child) for child in children)
    return Markup(f"<{name}{given}>{inside}</{name}>" if inside or name not in EMPTY else f"<{name}{given}/>")


def join(parts: Iterable[object], between: str = "") -> Markup:
    """Several pieces as one."""
    return Markup(escape(between).join(escape(part) for part in parts))


EMPTY = frozenset({"path", "rect", "circle", "line", "polygon", "polyline", "use", "meta", "link", "br"})
"""Elements that close themselves."""
