"""Reports are whole HTML files that say what the directories say, are safe to open, and can be read."""

import html.parser
import json
import math
import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloze.configs import base
from cloze.errors import ConfigError
from cloze.reports import chart, page, run, sweep
from cloze.sweeps import planned, processes, product

VOID = {"meta", "br", "line", "circle", "polyline"}
EVIL = "<script>alert('\"&')</script>"


class Parsed(html.parser.HTMLParser):
    """A page whose elements close in the order in which they were opened; its text, and their attributes."""

    def __init__(self, text):
        super().__init__()
        self.open, self.faults, self.words, self.elements = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open and not self.faults, (self.open, self.faults)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append((tag, self.getpos()))

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def make_run(path, seed=0, steps=40, name="demo"):
    """A directory as a run leaves it."""
    path.mkdir(parents=True)
    config = base.get_base()
    config.name, config.seed = name, seed
    (path / "config.json").write_text(json.dumps(base.to_dict(config)))
    told = {
        "steps": steps, "parameters": 12_345, "trainable": 345, "data": f"pydocs {EVIL}", "devices": "1 cpu",
        "jax": "1",
        "source": "configs/demo.py", "changed": [["seed", 0, seed]] if seed else [],
    }  # fmt: skip
    (path / "run.json").write_text(json.dumps(told))
    lines = []
    for step in range(1, steps + 1):
        rates = {"tokens_per_second": 100.0 * step, "flops": 50.0, "mfu": 0.1, "seconds": 0.5, "data_wait": 0.0}
        loss = math.nan if step == 3 else 5 / step + seed
        lines.append({"step": step, "split": "train", "loss": None if step == 3 else loss, "learning_rate": 1e-4 * step,
                      "grad_norm": 1.0, **rates})  # fmt: skip
        if step % 20 == 0:
            lines.append({"step": step, "split": "validation", "loss": 5 / step + seed, "mlm_accuracy": step / 100})
    account = dict(computing=60.0, recomputing=0.0, waiting=0.0, saving=20.0, evaluating=10.0, starting=10.0)
    lines.append({"step": steps, "split": "goodput", "goodput": 0.6, "starts": 2, "reached": steps, **account})
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (path / "checkpoints" / str(steps)).mkdir(parents=True)
    return path


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    path = make_run(tmp_path_factory.mktemp("reports") / "a run", seed=7)
    (path / run.SAMPLES).write_text(
        json.dumps({"prompt": f"A [MASK] {EVIL}", "text": "A list", "blanks": [[["list", 0.5], ["dict", 0.25]]]})
        + "\nx\n"
    )
    return run.write(path)


def test_a_report_says_what_the_directory_says(report):
    parsed = Parsed(report.read_text())
    for words in (
        "Finished.", "validation loss 7.1250", "parameters 12.35k", "time 1m40s", "FLOPs 2k", "goodput 60%",
        "mlm_accuracy 0.4", "all, in 2 starts 1m40s", "Config file: configs/demo.py .", "seed 0 7",
        "blank 1: list 50.0%, dict 25.0%", f"pydocs {EVIL}", "345 of them train",
    ):  # fmt: skip
        assert words in parsed.text, (words, parsed.text)


def test_nothing_comes_from_elsewhere_and_no_text_becomes_code(report):
    parsed = Parsed(report.read_text())
    assert len(parsed.all("script")) == len(parsed.all("style")) == 1
    for tag, attributes in parsed.elements:
        assert tag not in ("link", "img", "iframe") and "src" not in attributes
        assert not any(name.startswith("on") for name in attributes)
    assert "url(" not in page.STYLE and "@import" not in page.STYLE and "fetch" not in page.SCRIPT
    assert 'name="viewport"' in report.read_text() and "prefers-color-scheme:dark" in report.read_text()


def test_curves_lie_where_their_values_are(report):
    curves = [one for one in Parsed(report.read_text()).all("g") if "data-points" in one]
    (training,) = [one for one in curves if one["data-name"] == "training"]
    values = [tuple(map(float, pair.split(","))) for pair in training["data-points"].split(";")]
    places = [tuple(map(float, pair.split(","))) for pair in training["data-places"].split()]
    assert [step for step, _ in values] == [step for step in range(1, 41) if step != 3]
    assert values[0] == (1, 12) and places[0][0] == chart.LEFT and places[-1][0] == chart.WIDTH - chart.RIGHT
    heights = [y for _, y in places]
    assert heights == sorted(heights) and chart.TOP <= heights[0] < heights[-1] <= chart.HEIGHT - chart.BOTTOM
    (rate,) = [one for one in curves if one["data-name"] == "learning rate"]
    assert rate["data-points"].endswith("40,0.004")


def test_of_many_points_means_are_drawn():
    drawn = chart.chart("x", [chart.Curve("a", [(step, step % 2) for step in range(1, 10_001)])])
    (curve,) = [one for one in Parsed(drawn).all("g")]
    values = [tuple(map(float, pair.split(","))) for pair in curve["data-points"].split(";")]
    assert 200 < len(values) <= chart.MOST_POINTS and all(0.4 < y < 0.6 for _, y in values) and values[-1][0] == 10_000


@given(st.lists(st.floats(-1e12, 1e12) | st.floats(1e-12, 1), min_size=1), st.booleans())
def test_ticks_are_few_and_within_the_axis(values, logarithmic):
    logarithmic = logarithmic and min(values) > 0
    axis = chart.Axis(values, 200, 10, logarithmic)
    ticks = axis.ticks()
    assert len(ticks) <= 11 and all(9.5 <= axis.place(tick) <= 200.5 for tick in ticks)
    assert all(10 <= axis.place(value) <= 200 for value in values)


def luminance(colour):
    """Of WCAG 2.2, "relative luminance"."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    low, high = sorted(map(luminance, (a, b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("which", [0, 1], ids=["light", "dark"])
def test_colours_stand_out_from_their_ground(which):
    for ground in ("ground", "panel"):
        below = page.PALETTE[ground][which]
        assert all(contrast(page.PALETTE[name][which], below) >= 4.5 for name in ("text", "quiet", "link"))
        assert all(contrast(pair[which], below) >= 4.5 for pair in page.CURVES)  # which legends are written in
    assert len(page.CURVES) == chart.COLOURS


@pytest.fixture
def swept(tmp_path):
    runs = planned.named(
        product({"config": "configs/demo.py", "train.steps": [20, 40], "model.layers": 1}, seed=[0, 1])
    )
    runs += planned.named([{"config": EVIL}])
    for one in runs[:3]:
        run.write(make_run(tmp_path / one.name, one.overrides["seed"], one.overrides["train.steps"]))
    (tmp_path / runs[3].name).mkdir()
    processes.storage.write_checked(tmp_path / runs[3].name / processes.FAILED, {"code": 4, "message": f"lost {EVIL}"})
    planned.keep(runs, tmp_path, "my.py")
    return tmp_path, runs


def test_a_sweep_has_means_curves_of_all_runs_and_links(swept):
    path, runs = swept
    parsed = Parsed(sweep.write(runs, path).read_text())
    assert "0.7500 ± 0.7071" in parsed.text and "2 of 2" in parsed.text and "1 of 2" in parsed.text
    assert f"lost {EVIL}" in parsed.text and "model.layers 1" in parsed.text
    links = [one["href"] for one in parsed.all("a")]
    assert links == [f"{one.name}/report.html" for one in runs[:3]] and all((path / link).is_file() for link in links)
    names = [one["data-name"] for one in parsed.all("g") if "data-points" in one]
    assert names == ["steps=20", "steps=20", "steps=40"] * 2


def test_a_directory_without_a_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="holds no run"):
        run.write(tmp_path)


BROWSE = """
import chromium from "@sparticuz/chromium";
import puppeteer from "puppeteer-core";
const options = {args: chromium.args, executablePath: await chromium.executablePath(), headless: "shell"};
const browser = await puppeteer.launch(options), page = await browser.newPage(), seen = {errors: [], asked: []};
page.on("pageerror", error => seen.errors.push(error.message));
page.on("request", request => seen.asked.push(request.url().split(":")[0]));
await page.emulateMediaFeatures([{name: "prefers-color-scheme", value: "dark"}]);
await page.setViewport({width: 375, height: 800});
await page.goto(process.argv[1]);
seen.width = await page.evaluate(() => document.documentElement.scrollWidth);
seen.ground = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
for (let click = 0; click < 2; click++) await page.evaluate(() => document.querySelectorAll("th button")[2].click());
seen.column = await page.evaluate(() => [...document.querySelector("tbody").rows].map(row => row.cells[2].innerText));
const box = await (await page.$("svg")).boundingBox();
await page.mouse.move(box.x + box.width - 2, box.y + 20);
seen.tip = await page.evaluate(() => document.querySelector(".tip").innerText);
console.log(JSON.stringify(seen));
await browser.close();
"""


@pytest.mark.skipif("CLOZE_PUPPETEER" not in os.environ, reason="CLOZE_PUPPETEER names no folder with a browser")
def test_a_browser_sorts_tables_and_shows_values(swept):
    """In a folder of its own: npm install puppeteer-core @sparticuz/chromium; CLOZE_PUPPETEER names that folder."""
    path, runs = swept
    command = ["node", "--input-type=module", "--eval", BROWSE, sweep.write(runs, path).as_uri()]
    environment = {**os.environ, "AWS_EXECUTION_ENV": "AWS_Lambda_nodejs20.x"}  # so that it unpacks its libraries
    done = subprocess.run(command, cwd=os.environ["CLOZE_PUPPETEER"], env=environment, capture_output=True, timeout=60)
    seen = json.loads(done.stdout)
    assert seen["errors"] == [] and seen["asked"] == ["file"]
    assert seen["width"] == 375  # nothing sticks out of a phone's screen
    assert seen["ground"] == "rgb({}, {}, {})".format(*bytes.fromhex(page.PALETTE["ground"][1][1:]))
    assert [text.split()[0] if text else "" for text in seen["column"]] == ["0.7500", "0.1250", ""]
    assert seen["tip"].split("\n") == ["step 40", "0.125 steps=40"]


def test_the_command_writes_reports_of_runs_and_sweeps(swept):
    path, runs = swept
    from tests import verbs

    done = verbs.run("report", f"--workdir={path},{path / runs[0].name}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [f"{path}/report.html", f"{path / runs[0].name}/report.html"]
    done = verbs.run("report", f"--workdir={path / 'nothing'}")
    assert done.returncode == 2 and "holds no run" in done.stderr
