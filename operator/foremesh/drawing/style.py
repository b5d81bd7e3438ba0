"""Colours and styles of pictures and pages, light and dark. Everything is inline: nothing is loaded when opened."""

from __future__ import annotations

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b07d00", "#3fa0d8", "#882255", "#6b6b00")
"""Circuits, on light ground. After Okabe & Ito, "Color Universal Design", 2008: told apart with any common colour
blindness; yellow is left out, which light ground swallows."""

DARK_PALETTE = ("#4ba6e0", "#f28a4b", "#2ec7a0", "#e6a3c8", "#e3b341", "#9ad4f5", "#e07aa6", "#c4c452")
"""The same, lighter, for dark ground."""

LIGHT = {
    "ground": "#ffffff",
    "panel": "#f6f7f9",
    "ink": "#16202a",
    "soft": "#5a6672",
    "line": "#d5dae0",
    "faint": "#8b97a3",
    "bad": "#b3261e",
    "good": "#00664a",
}
DARK = {
    "ground": "#12171d",
    "panel": "#1a2129",
    "ink": "#e6ebf0",
    "soft": "#a3afba",
    "line": "#323c47",
    "faint": "#6f7c89",
    "bad": "#ff8a80",
    "good": "#5fd6b0",
}

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif"


def theme(scope: str) -> str:
    """Colours as CSS variables of a scope; dark only on a screen that asks for it, so that paper stays white."""
    light = _variables(LIGHT, PALETTE)
    dark = _variables(DARK, DARK_PALETTE)
    return f"{scope}{{{light}}}@media screen and (prefers-color-scheme:dark){{{scope}{{{dark}}}}}"


def colour(index: int) -> str:
    """A circuit's colour where no style sheet reaches; colours repeat after the last."""
    return PALETTE[index % len(PALETTE)]


def _variables(colours: dict[str, str], palette: tuple[str, ...]) -> str:
    named = {**colours, **{f"c{index}": value for index, value in enumerate(palette)}}
    return "".join(f"--{name}:{value};" for name, value in named.items())


def _strokes() -> str:
    return "".join(
        f".c{index}{{stroke:var(--c{index})}}.f{index}{{fill:var(--c{index})}}.b{index}{{background:var(--c{index})}}\n"
        for index in range(len(PALETTE))
    )


PICTURE = (
    """
.fm{font-family:FONT;font-size:12px;max-width:100%;height:auto;display:block}
.fm text{fill:var(--ink)}
.fm .ground{fill:var(--ground)}
.fm .grid{stroke:var(--line);stroke-width:.6;fill:none}
.fm .grid-text{fill:var(--faint);font-size:10px}
.fm .edge{stroke:var(--faint);stroke-width:1;fill:none;opacity:.45}
.fm .edge.many{stroke-width:.5;opacity:.14}
.fm .hit{stroke:#000;stroke-opacity:0;stroke-width:10;fill:none}
.fm g:hover>.edge{stroke:var(--ink);opacity:1}
.fm .active,.fm .standby{fill:none;stroke-linecap:round}
.fm .active{stroke-width:3.4}
.fm .standby{stroke-width:2.2;stroke-dasharray:2 6}
.fm .node{fill:var(--ground);stroke:var(--ink);stroke-width:2}
.fm .node.core{fill:var(--ink)}
.fm .name{font-weight:600}
.fm .halo{paint-order:stroke;stroke:var(--ground);stroke-width:3.5px;stroke-linejoin:round}
.fm .small{font-size:10.5px}
.fm .soft{fill:var(--soft)}
.fm .bad{fill:var(--bad)}
.fm .band{opacity:.2}
.fm .median{fill:none;stroke-width:1.4}
.fm .actual{fill:none;stroke:var(--ink);stroke-width:1.2;stroke-linejoin:round}
.fm .limit{fill:none;stroke:var(--bad);stroke-width:1.2;stroke-dasharray:6 4}
.fm .missed{fill:var(--bad)}
.fm .move{stroke:var(--c7);stroke-width:1;stroke-dasharray:2 3}
.fm .flag{fill:var(--c7)}
.fm .slice{fill:#000;fill-opacity:0}
.fm .slice:hover{fill:var(--ink);fill-opacity:.06}
.fm .stretch{fill-opacity:.22}
.fm .stretch.none{fill:var(--bad)}
.fm .start{stroke-width:2.5}
.fm .told{outline:2px solid var(--bad);outline-offset:2px}
.fm .slice.told{outline:none;fill:var(--ink);fill-opacity:.1}
.fm .told>.edge{stroke:var(--ink);opacity:1}
.fm:focus-visible{outline:2px solid var(--c0);outline-offset:2px}
.fm.focus .circuit{opacity:.1}
.fm.focus .circuit.lit{opacity:1}
""".replace("FONT", FONT)
    + _strokes()
)
"""Styles of a picture, in a page or alone."""

PAGE = """
:root{color-scheme:light dark}
body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.5 FONT}
main{max-width:1180px;margin:0 auto;padding:24px 24px 64px}
h1{font-size:26px;line-height:1.25;margin:8px 0 4px}
h2{font-size:19px;margin:40px 0 8px}
h3{font-size:15px;margin:20px 0 4px}
p{max-width:80ch;margin:6px 0}
.lead{font-size:17px}
.soft{color:var(--soft)}
.bad{color:var(--bad)}
.good{color:var(--good)}
table{border-collapse:collapse;width:100%;font-size:13.5px;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--soft);padding:4px 0}
th,td{text-align:left;vertical-align:top;padding:6px 12px 6px 0;border-bottom:1px solid var(--line)}
th{font-weight:600;color:var(--soft)}
td.n,th.n{text-align:right}
td.n{white-space:nowrap}
tr.ours td{font-weight:650}
tr[data-lights]:hover,tr[data-lights]:focus{background:var(--panel);outline:none}
td strong{font-weight:600}
.nb{white-space:nowrap}
.key{max-width:none;display:flex;flex-wrap:wrap;gap:4px 20px;font-size:13.5px}
.key .fm .edge{opacity:1}
.key svg{overflow:visible;display:inline-block;vertical-align:-2px;margin-right:6px}
.note{font-size:13.5px;max-width:none}
.scroll{overflow-x:auto;margin:12px 0}
.wide{overflow-x:auto}
.bars{display:grid;grid-template-columns:max-content 1fr max-content;gap:4px 8px;font-size:13px;line-height:1.35}
.bars>div{display:contents}
.bars .of{text-align:right}
.bars .ours{font-weight:650}
.bars .n{font-variant-numeric:tabular-nums;text-align:right}
.bars .track{display:flex;align-items:center}
.bar{min-width:1px;height:15px;border-radius:2px;print-color-adjust:exact;-webkit-print-color-adjust:exact}
.bar:not(.b0){background:var(--faint)}
.swatch{display:inline-block;width:22px;height:4px;border-radius:2px;margin-right:8px;vertical-align:middle}
.two{display:grid;grid-template-columns:1fr 1fr;gap:16px;margin:16px 0}
.card{background:var(--panel);border-radius:8px;padding:12px 16px}
.card h3{margin:0 0 4px}
.card ul{margin:4px 0;padding-left:20px}
.panels{display:grid;grid-template-columns:repeat(2,1fr);gap:12px 36px}
figure{margin:16px 0}
figcaption{font-size:13.5px;margin-bottom:4px}
details{border-bottom:1px solid var(--line);padding:6px 0}
summary{cursor:pointer}
pre{background:var(--panel);border-radius:6px;padding:10px 12px;overflow:auto;max-height:480px;
 font-size:12px;line-height:1.45}
#tip{position:fixed;z-index:9;max-width:min(560px,calc(100vw - 36px));padding:8px 10px;border-radius:6px;
 background:var(--ink);color:var(--ground);font-size:12.5px;line-height:1.45;white-space:pre-line;pointer-events:none}
#tip[hidden]{display:none}
@media(max-width:760px){.two,.panels{grid-template-columns:1fr}main{padding:12px}.nb{display:inline-block;white-space:normal}}
@media screen and (max-width:1060px){
.wide .mesh,.wide .plot{min-width:1010px}
.wide{background:linear-gradient(90deg,var(--ground) 30%,transparent) 0 0/48px 100% no-repeat local,
 linear-gradient(270deg,var(--ground) 30%,transparent) 100% 0/48px 100% no-repeat local,
 linear-gradient(90deg,var(--faint),transparent) 0 0/10px 100% no-repeat scroll,
 linear-gradient(270deg,var(--faint),transparent) 100% 0/10px 100% no-repeat scroll}
.wide::before{content:"\\2194  scrolls sideways";position:sticky;left:0;display:block;width:max-content;
 padding:0 8px;color:var(--soft);font-size:12.5px}}
@media screen and (max-width:900px){
table,tbody,tr,td,caption{display:block}
thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
tr{border:1px solid var(--line);border-radius:8px;padding:8px 12px;margin:8px 0}
td,td.n{border:0;padding:2px 0;text-align:left;white-space:normal;overflow-wrap:anywhere}
td[data-label]{display:grid;grid-template-columns:9.5em minmax(0,1fr);gap:8px}
td[data-label]::before{content:attr(data-label);color:var(--soft);font-weight:400}
td:first-child{font-weight:600}
td:first-child .soft{font-weight:400}}
@media print{main{max-width:none;padding:0}figure,tr,.card{break-inside:avoid}h2{break-after:avoid}
 #tip{display:none}pre{max-height:none;white-space:pre-wrap}}
""".replace("FONT", FONT)
"""Styles of a page around pictures."""
