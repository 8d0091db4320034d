"""The page that shows attention: every head small, one of them large, and what a token looks at."""

import html
import json

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Attention</title>
<style>
:root { color-scheme: light dark; --ink: #1c2733; --faint: #66727f; --paper: #fbfbf9; --line: #d8dcdf; }
:root { --mark: 20, 90, 170; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8ea; --faint: #98a2ac; --paper: #15191d; --line: #363d44; --mark: 120, 185, 255; }
}
body { margin: 1.5rem; background: var(--paper); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.25rem; margin: 0 0 .3rem; }
p { margin: .2rem 0 1rem; max-width: 60rem; color: var(--faint); }
main { display: flex; flex-wrap: wrap; gap: 2rem; align-items: flex-start; }
main > div { max-width: 100%; overflow-x: auto; }
table { border-collapse: separate; border-spacing: 3px; }
th { font-weight: normal; font-size: .75rem; color: var(--faint); }
canvas { image-rendering: pixelated; border: 1px solid var(--line); display: block; cursor: pointer; }
canvas.on { border-color: rgb(var(--mark)); box-shadow: 0 0 0 2px rgb(var(--mark)); }
#large td { width: 22px; min-width: 22px; height: 22px; padding: 0; border: 1px solid var(--line); }
#large th { padding: 0 .4rem; white-space: nowrap; text-align: right; font: 12px ui-monospace, monospace; }
#large thead th { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; padding: .4rem 0; }
#large { border-collapse: collapse; }
#large tr:hover th { color: var(--ink); font-weight: bold; }
#said { min-height: 3rem; font: 13px ui-monospace, monospace; }
</style>
<h1>Attention: “TEXT”</h1>
<p>A row is a token that looks, a column a token that is looked at. The stronger the colour of a cell, the larger its
weight; the weights of a row add up to 1. Click a head on the left to see it large. Point at a cell to
read its number.</p>
<main>
<div><table id="small" aria-label="all heads"></table></div>
<div><h1 id="name"></h1><div id="said"></div><table id="large"></table></div>
</main>
<script>
const tokens = TOKENS, weights = WEIGHTS, SCALE = 1000;
const get = id => document.getElementById(id);
const mark = () => getComputedStyle(document.documentElement).getPropertyValue("--mark");
let chosen = [0, 0];
function cell(tag, text, parent) {
  const made = document.createElement(tag); made.textContent = text; parent.appendChild(made); return made;
}
function paint(canvas, head) {
  const size = tokens.length, pen = canvas.getContext("2d");
  canvas.width = canvas.height = size; pen.clearRect(0, 0, size, size);
  head.forEach((row, y) => row.forEach((weight, x) => {
    pen.fillStyle = `rgba(${mark()}, ${weight / SCALE})`; pen.fillRect(x, y, 1, 1);
  }));
}
function overview() {
  const top = get("small").insertRow(); cell("th", "", top);
  weights[0].forEach((_, head) => cell("th", `head ${head + 1}`, top));
  weights.forEach((heads, layer) => {
    const row = get("small").insertRow(); cell("th", `layer ${layer + 1}`, row);
    heads.forEach((head, number) => {
      const canvas = document.createElement("canvas");
      canvas.style.width = canvas.style.height = "64px"; canvas.title = `layer ${layer + 1}, head ${number + 1}`;
      canvas.dataset.place = `${layer},${number}`;
      canvas.onclick = () => { chosen = [layer, number]; large(); };
      paint(canvas, head); row.insertCell().appendChild(canvas);
    });
  });
}
function large() {
  const [layer, number] = chosen, head = weights[layer][number], table = get("large");
  document.querySelectorAll("canvas").forEach(c => c.classList.toggle("on", c.dataset.place === chosen.join()));
  get("name").textContent = `Layer ${layer + 1}, head ${number + 1}`;
  get("said").textContent = table.textContent = "";
  const top = table.createTHead().insertRow(); cell("th", "", top);
  tokens.forEach(token => cell("th", token, top));
  const body = table.createTBody();
  head.forEach((weightsOfRow, y) => {
    const row = body.insertRow(); cell("th", tokens[y], row);
    const order = weightsOfRow.map((w, x) => [w, x]).sort((a, b) => b[0] - a[0]).slice(0, 3);
    const most = order.map(([w, x]) => `${tokens[x]} ${(w / SCALE).toFixed(2)}`).join(", ");
    weightsOfRow.forEach((weight, x) => {
      const made = row.insertCell(); made.style.background = `rgba(${mark()}, ${weight / SCALE})`;
      made.onmouseenter = () => get("said").textContent =
        `${tokens[y]} looks at ${tokens[x]} with ${(weight / SCALE).toFixed(3)}; at most: ${most}`;
    });
  });
}
overview(); large();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  get("small").textContent = ""; overview(); large();
});
</script>
</html>
"""


def write(path, text, tokens, weights):
    """Writes the page.

    Args:
        path: of the file.
        text: what was read.
        tokens: T strings.
        weights: f32 [layers, heads, T, T].
    """
    thousandths = (weights * 1000).round().astype(int).tolist()
    values = {
        "TEXT": html.escape(text),
        "TOKENS": _literal(list(tokens)),
        "WEIGHTS": _literal(thousandths),
    }
    page = _PAGE
    for name in ("WEIGHTS", "TOKENS", "TEXT"):
        page = page.replace(name, values[name], 1)
    with open(path, "w", encoding="utf-8") as file:
        file.write(page)


def _literal(value):
    """JSON that cannot end the script that it stands in."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
