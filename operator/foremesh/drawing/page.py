"""Pages of HTML that stand alone: styles and the little script they need are inside, and their own policy forbids the
browser to load, send or run anything else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable

from foremesh.drawing.figures import short
from foremesh.drawing.markup import Markup, escape, join, tag
from foremesh.drawing.style import PAGE, PALETTE, PICTURE, theme

SCRIPT = """\
(() => {
  const tip = document.getElementById('tip');
  const put = (text, x, y) => {
    tip.textContent = text;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(8, Math.min(x + 14, innerWidth - box.width - 8)) + 'px';
    tip.style.top = Math.max(8, y + 18 + box.height > innerHeight ? y - box.height - 12 : y + 18) + 'px';
  };
  // The browser's own hint is slow and cannot be styled; without this script it is still there.
  for (const title of document.querySelectorAll('svg g > title, svg path > title, svg rect > title')) {
    const owner = title.parentElement;
    owner.dataset.tip = title.textContent;
    owner.setAttribute('aria-label', title.textContent);
    title.remove();
  }
  document.addEventListener('pointermove', (event) => {
    const owner = event.target.closest && event.target.closest('[data-tip]');
    if (owner) put(owner.dataset.tip, event.clientX, event.clientY); else tip.hidden = true;
  });
  document.addEventListener('keydown', (event) => { if (event.key === 'Escape') tip.hidden = true; });
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


def table(heads: list[tuple[str, str]], rows: list[Markup], *, caption: str = "") -> Markup:
    """A table in a box that scrolls on narrow windows.

    Args:
        heads: Title and class of each column.
        rows: ``tr`` elements.
    """
    head = tag("tr", *(tag("th", title, class_=look or None, scope="col") for title, look in heads))
    said = tag("caption", caption) if caption else Markup()
    return tag("div", tag("table", said, tag("thead", head), tag("tbody", *rows)), class_="scroll")


def cells(*values: tuple[object, str] | object) -> Markup:
    """Cells of one row; a pair is content and class."""
    made = [value if isinstance(value, tuple) else (value, "") for value in values]
    return Markup("".join(tag("td", escape(content), class_=look or None) for content, look in made))


def path_cell(gateways: Iterable[str]) -> Markup:
    """A path that breaks between gateways only."""
    return join([tag("span", short(one), class_="nb") for one in gateways], " → ")


def swatch(index: int) -> Markup:
    """A circuit's colour beside its name."""
    return tag("span", class_=f"swatch b{index % len(PALETTE)}", aria_hidden="true")
