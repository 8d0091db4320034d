"""An HTML page: its frame, style and script, and tables. It is one file; light or dark is the reader's choice."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

# {name: (light, dark)}. Text has a contrast of 4.5 or more to its ground, curves one of 3 or more.
PALETTE = {
    "ground": ("#ffffff", "#14171c"),
    "panel": ("#f4f6f9", "#1d2229"),
    "text": ("#1b2028", "#e6e9ee"),
    "quiet": ("#5a6370", "#a3adba"),
    "rule": ("#d5dae1", "#363d48"),
    "link": ("#0b57b0", "#82b5ff"),
}
CURVES = (  # colours that stay apart for readers who see few of them, by lightness as well
    ("#1f5fbf", "#6ea8ff"),
    ("#c2410c", "#ff9a5c"),
    ("#15803d", "#5fd08a"),
    ("#7c3aed", "#b795ff"),
    ("#a1116b", "#ff8ac6"),
    ("#0f7285", "#4cc7db"),
    ("#7a5600", "#e0b84a"),
    ("#4b5563", "#b6bfcc"),
)
STYLE = """
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--text);font:16px/1.5 system-ui,sans-serif}
main{max-width:1060px;margin:0 auto;padding:16px}
h1{font-size:1.5rem;line-height:1.25;margin:8px 0;overflow-wrap:anywhere}h2{font-size:1.15rem;margin:32px 0 8px}
p{margin:8px 0}a{color:var(--link)}small,.quiet{color:var(--quiet)}code{font-size:.92em;overflow-wrap:anywhere}
.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(140px,1fr));gap:8px;margin:16px 0}
.facts div{background:var(--panel);border-radius:8px;padding:8px 12px}
.facts dt{color:var(--quiet);font-size:.85rem}.facts dd{margin:0;font-size:1.15rem;font-variant-numeric:tabular-nums}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:16px}
.alone{max-width:640px}
.chart{margin:0;background:var(--panel);border-radius:8px;padding:10px;position:relative;min-width:0}
figcaption{font-weight:600}svg{width:100%;height:auto;display:block;touch-action:pan-y}
svg text{font:12px system-ui,sans-serif;fill:var(--quiet)}
.grid{stroke:var(--rule);stroke-width:1}.cursor{stroke:var(--quiet);stroke-width:1;visibility:hidden}
.curve polyline{fill:none;stroke:currentColor;stroke-linejoin:round}.curve circle{fill:currentColor}
.curve .band{fill:currentColor;opacity:.16}.strong polyline{stroke-width:2}.thin polyline{stroke-width:1;opacity:.8}
.legend{list-style:none;margin:4px 0 0;padding:0;display:flex;flex-wrap:wrap;gap:2px 14px;font-size:.85rem}
.legend li::before{content:"";display:inline-block;width:16px;height:3px;background:currentColor;margin-right:6px;
vertical-align:middle}.legend li.thin::before{height:1px}
.tip{display:none;position:absolute;top:36px;right:14px;background:var(--ground);border:1px solid var(--rule);
border-radius:6px;padding:4px 8px;font-size:.8rem;max-width:75%;max-height:170px;overflow:hidden;pointer-events:none;
font-variant-numeric:tabular-nums}.tip div{white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.92rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:5px 14px 5px 0;border-bottom:1px solid var(--rule);vertical-align:top}
td{overflow-wrap:break-word;max-width:44ch}
th{font-weight:600}.number{text-align:right;white-space:nowrap;overflow-wrap:normal}
th button{all:unset;cursor:pointer;font-weight:600}th button:focus-visible{outline:2px solid var(--link)}
th button::after{content:" \\2195";color:var(--quiet)}th[aria-sort=ascending] button::after{content:" \\2191"}
th[aria-sort=descending] button::after{content:" \\2193"}
details{margin-top:12px}summary{cursor:pointer;font-weight:600}
blockquote{margin:8px 0;padding:6px 12px;border-left:3px solid var(--rule);
white-space:pre-wrap;overflow-wrap:anywhere}mark{background:none;color:var(--link);font-weight:600}
"""
SCRIPT = """
for (const button of document.querySelectorAll("th button")) button.onclick = () => {
  const head = button.parentElement, body = head.closest("table").tBodies[0];
  const up = head.getAttribute("aria-sort") !== "ascending", column = head.cellIndex;
  for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
  const order = (a, b) => {
    const x = key(a), y = key(b), n = parseFloat(x) - parseFloat(y);
    if (x === "" || y === "") return (x === "") - (y === "");
    return (up ? 1 : -1) * (Number.isNaN(n) ? x.localeCompare(y) : n);
  };
  body.append(...[...body.rows].sort(order));
};
for (const svg of document.querySelectorAll(".chart svg")) {
  const pairs = text => text.split(/[; ]/).map(one => one.split(",").map(Number));
  const cursor = svg.querySelector(".cursor"), tip = svg.parentElement.querySelector(".tip");
  const curves = [...svg.querySelectorAll(".curve")].map(one => ({
    name: one.dataset.name, colour: getComputedStyle(one).color, values: pairs(one.dataset.points),
    places: pairs(one.dataset.places)}));
  const leave = () => { cursor.style.visibility = "hidden"; tip.style.display = "none"; };
  svg.onpointermove = event => {
    const box = svg.getBoundingClientRect(), x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
    const near = curves.map(curve => {
      let best = 0;
      curve.places.forEach((place, n) => {
        if (Math.abs(place[0] - x) < Math.abs(curve.places[best][0] - x)) best = n;
      });
      return {...curve, at: curve.places[best][0], value: curve.values[best]};
    });
    const first = near.reduce((a, b) => Math.abs(b.at - x) < Math.abs(a.at - x) ? b : a);
    cursor.setAttribute("x1", first.at); cursor.setAttribute("x2", first.at); cursor.style.visibility = "visible";
    const there = near.filter(one => Math.abs(one.at - first.at) < 8);
    tip.replaceChildren(...[`${svg.dataset.over} ${first.value[0]}`, ...there].map(one => {
      const line = document.createElement("div");
      line.textContent = typeof one === "string" ? one : `${one.value[1]}  ${one.name}`;
      if (typeof one !== "string") line.style.color = one.colour;
      return line;
    }));
    tip.style.display = "block";
  };
  svg.onpointerleave = leave;
}
"""


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: what it shows.
        value: a number that it is sorted by; None: its text.
        link: where it leads; "": nowhere.
    """

    text: str
    value: float | None = None
    link: str = ""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole page.

    Args:
        title: of the window and the first heading.
        parts: HTML; empty ones are left out.
    """
    body = "\n".join(filter(None, parts))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{colours()}{STYLE}</style></head>\n<body><main>\n"
        f"<h1>{escape(title)}</h1>\n{body}\n</main><script>{SCRIPT}</script></body></html>\n"
    )


def colours() -> str:
    """The style sheet's variables and the colours of curves, light and dark."""

    def rules(which):
        variables = "".join(f"--{name}:{pair[which]};" for name, pair in PALETTE.items())
        curves = "".join(f".c{number}{{color:{pair[which]}}}" for number, pair in enumerate(CURVES))
        return f":root{{{variables}}}{curves}"

    return f":root{{color-scheme:light dark}}{rules(0)}@media(prefers-color-scheme:dark){{{rules(1)}}}"


def section(title: str, *parts: str) -> str:
    """A heading and what is below it; without any of that, ""."""
    body = "".join(parts)
    return f"<section><h2>{escape(title)}</h2>{body}</section>" if body else ""


def facts(values: Mapping[str, str]) -> str:
    """A few numbers that the reader should see first."""
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in values.items())
    return f'<dl class="facts">{items}</dl>'


def table(head: Sequence[str], rows: Sequence[Sequence[Any]], sortable: bool = False) -> str:
    """A table; cells are Cell or text. Without rows, "".

    A column is one of numbers, on the right, where a cell of it has a value.
    """
    if not rows:
        return ""
    rows = [[cell if isinstance(cell, Cell) else Cell(str(cell)) for cell in row] for row in rows]
    numbers = [any(row[column].value is not None for row in rows) for column in range(len(head))]
    heads = "".join(
        f"<th{_kind(number)}>{f'<button>{escape(name)}</button>' if sortable else escape(name)}</th>"
        for name, number in zip(head, numbers, strict=True)
    )
    lines = "".join(
        f"<tr>{''.join(_cell(cell, number) for cell, number in zip(row, numbers, strict=True))}</tr>" for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>'


def _kind(number):
    return ' class="number"' if number else ""


def _cell(cell, number):
    value = f' data-value="{cell.value:.9g}"' if cell.value is not None else ""
    text = escape(cell.text)
    if cell.link:
        text = f'<a href="{escape(cell.link)}">{text}</a>'
    return f"<td{_kind(number)}{value}>{text}</td>"


def details(title: str, *parts: str) -> str:
    """What opens when its title is clicked; without anything in it, ""."""
    body = "".join(parts)
    return f"<details><summary>{escape(title)}</summary>{body}</details>" if body else ""
