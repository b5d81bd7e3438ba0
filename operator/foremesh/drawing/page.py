"""Pages of HTML that stand alone: styles and the little script they need are inside, and their own policy forbids the
browser to load, send or run anything else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from foremesh.drawing.figures import short
from foremesh.drawing.markup import Markup, join, tag
from foremesh.drawing.style import PAGE, PALETTE, PICTURE, theme

SCRIPT = """\
(() => {
  const tip = document.getElementById('tip');
  let told = null;
  const put = (owner, x, y) => {
    hush();
    told = owner;
    owner.classList.add('told');
    tip.textContent = owner.dataset.tip;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(8, Math.min(x + 14, innerWidth - box.width - 8)) + 'px';
    tip.style.top = Math.max(8, y + 18 + box.height > innerHeight ? y - box.height - 12 : y + 18) + 'px';
  };
  const hush = () => {
    if (told) told.classList.remove('told');
    told = null;
    tip.hidden = true;
  };
  // The browser's own hint is slow, cannot be styled, and needs a mouse; without this script it is still there.
  const own = (owner, text) => {
    owner.dataset.tip = text;
    owner.setAttribute('aria-label', text);
  };
  for (const title of document.querySelectorAll('svg g > title, svg path > title, svg rect > title')) {
    own(title.parentElement, title.textContent);
    title.remove();
  }
  for (const owner of document.querySelectorAll('main [title]')) {
    owner.dataset.tip = owner.title;
    owner.removeAttribute('title');
  }
  const ownerOf = (event) => event.target.closest && event.target.closest('[data-tip]');
  document.addEventListener('pointermove', (event) => {
    // A finger that moves scrolls; it asks by tapping.
    if (event.pointerType === 'touch') return;
    const owner = ownerOf(event);
    if (owner) put(owner, event.clientX, event.clientY); else hush();
  });
  document.addEventListener('click', (event) => {
    const owner = ownerOf(event);
    if (owner) put(owner, event.clientX, event.clientY); else hush();
  });
  const beside = (owner) => {
    owner.scrollIntoView({block: 'nearest', inline: 'nearest'});
    const box = owner.getBoundingClientRect();
    put(owner, box.left + Math.min(box.width, 60) / 2, Math.min(box.bottom, box.top + 40));
  };
  document.addEventListener('focusin', (event) => {
    if (event.target.dataset.tip && event.target.matches(':focus-visible')) beside(event.target);
  });
  document.addEventListener('focusout', hush);
  document.addEventListener('keydown', (event) => { if (event.key === 'Escape') hush(); });
  // One stop for each picture, and arrows from part to part: hundreds of stops would be in everybody's way.
  for (const picture of document.querySelectorAll('svg.mesh, svg.plot')) {
    const parts = [...picture.querySelectorAll('[data-tip]')];
    if (!parts.length) continue;
    picture.setAttribute('tabindex', '0');
    let at = -1;
    picture.addEventListener('keydown', (event) => {
      const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
      if (!step) return;
      event.preventDefault();
      at = at < 0 && step < 0 ? parts.length - 1 : (at + step + parts.length) % parts.length;
      beside(parts[at]);
    });
  }
  const light = (index) => {
    for (const picture of document.querySelectorAll('svg.mesh')) {
      picture.classList.toggle('focus', index !== null);
      for (const one of picture.querySelectorAll('.circuit')) {
        one.classList.toggle('lit', one.dataset.circuit === index);
      }
    }
  };
  for (const row of document.querySelectorAll('[data-lights]')) {
    for (const on of ['pointerenter', 'focus']) row.addEventListener(on, () => light(row.dataset.lights));
    for (const off of ['pointerleave', 'blur']) row.addEventListener(off, () => light(null));
  }
})();
"""

Cell = tuple[object, str] | object
"""What a cell shows, and its class if it has one."""


@dataclass(frozen=True)
class Row:
    """A row of a table; the last of too few cells takes the room of those that are missing."""

    cells: tuple[Cell, ...]
    attributes: Mapping[str, object]


def row(*cells: Cell, **attributes: object) -> Row:
    """A row of a table, with attributes as ``tag`` takes them."""
    return Row(cells, attributes)


def page(title: str, *body: object) -> str:
    """A whole page.

    Args:
        title: Shown in the window's title bar; the page's heading is a part of the body.
        body: Markup, or text to be escaped.
    """
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    allowed = (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'; base-uri 'none'"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=allowed),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("link", rel="icon", href="data:,"),
        tag("style", Markup(theme(":root") + PAGE + PICTURE)),
    )
    tip = tag("div", id="tip", role="status", hidden="hidden")
    script = tag("script", Markup(SCRIPT))
    content = tag("main", *body)
    return f"<!doctype html>\n{tag('html', head, tag('body', content, tip, script), lang='en')}\n"


def table(heads: Sequence[tuple[str, str]], rows: Iterable[Row], *, caption: str = "") -> Markup:
    """A table; in narrow windows, each row is a card whose figures have their column's title beside them.

    Args:
        heads: Title and class of each column.
    """
    head = tag("tr", *(tag("th", title, class_=look or None, scope="col") for title, look in heads))
    said = tag("caption", caption) if caption else Markup()
    body = tag("tbody", *(_row(heads, one) for one in rows))
    return tag("div", tag("table", said, tag("thead", head), body), class_="scroll")


def _row(heads: Sequence[tuple[str, str]], one: Row) -> Markup:
    made = []
    for place, cell in enumerate(one.cells):
        content, look = cell if isinstance(cell, tuple) else (cell, "")
        spans = len(heads) - place if place == len(one.cells) - 1 else 1
        # The first cell is the title of its card, and one across several columns says what it is about itself.
        title = heads[place][0] if place and spans == 1 else None
        made.append(
            tag(
                "td",
                tag("div", content) if title else content,
                class_=look or None,
                data_label=title,
                colspan=spans if spans > 1 else None,
            )
        )
    return tag("tr", *made, **one.attributes)


def wide(picture: Markup) -> Markup:
    """A picture that keeps its size in narrow windows, in a box that scrolls sideways and says so."""
    return tag("div", picture, class_="wide")


def path_cell(gateways: Iterable[str]) -> Markup:
    """A path that breaks between gateways only."""
    return join([tag("span", short(one), class_="nb") for one in gateways], " → ")


def swatch(index: int) -> Markup:
    """A circuit's colour beside its name."""
    return tag("span", class_=f"swatch b{index % len(PALETTE)}", aria_hidden="true")
