"""A study of scaling laws: what its section says of runs whose law is known, and that its sizes are the models'."""

import math
import re
import runpy

import numpy as np
import pytest

from cloze import models
from cloze.errors import ConfigError
from cloze.laws import chinchilla
from cloze.sweeps import ScalingStudy, planned, scaling, study

LAW = chinchilla.Law(1.5, 400.0, 300.0, 0.4, 0.35)
TOLD = ScalingStudy(title="T", claim="C.", source="S", published="P.", here="H.", not_shown="N.", resamples=8)


def runs(noise=0.0, budgets=(1e12, 4e12, 1.6e13)):
    """Five sizes around the best one of each budget."""
    draw = np.random.default_rng(0)
    found = []
    for budget in budgets:
        for size in LAW.best(budget)[0] * np.geomspace(0.3, 3, 5):
            tokens = budget / 6 / size
            found.append((size, tokens, float(LAW(size, tokens)) * np.exp(draw.normal(0, noise))))
    return found


def test_a_section_has_the_planted_law_and_the_larger_budget():
    text = study.section(TOLD, study.Outcome([], [], runs()), "It ran.")
    assert text.startswith("**Claim.** C.") and text.endswith("**Not shown.** N.")
    assert len(re.findall(r"\n\| [\d.]+e\+1[23] \| [\d.]+[kM] \| ", text)) == 15
    a, b = LAW.exponents
    assert f"approach 3, here | {a:.2f} ({a:.2f} to {a:.2f}) | {b:.2f} ({b:.2f} to {b:.2f}) |" in text
    assert "E 1.5 (1.5 to 1.5), A 400 (400 to 400), alpha 0.4 (0.4 to 0.4)" in text and "0.0% off" in text
    assert text.count("** |") == 3  # the lowest of each budget
    parameters, tokens = LAW.best(1.6e14)
    assert "What 1.6e+14 operations, 10 times" in text
    row = re.search(r"\| approach 3, here \| ([\d.]+)M .*? \| ([\d.]+)M .*? \| ([\d.]+) \| ([\d.]+) ", text)
    assert [float(value) for value in row.groups()] == [
        pytest.approx(value, rel=0.03)  # D / N has two digits
        for value in (parameters / 1e6, tokens / 1e6, tokens / parameters, LAW(parameters, tokens))
    ]
    for name in ("Hoffmann et al., approach 2 | 0.49 | 0.51", "Kaplan et al. | 0.73 | 0.27", "| Chinchilla | "):
        assert name in text


def test_bands_widen_with_the_noise():
    def width(noise):
        low, high = scaling.fit(runs(noise), resamples=12).band(lambda profiles, law: profiles.parabolas[0].best)
        return float(np.log(high / low))

    assert 0.01 < width(1e-3) < width(1e-2) < 2


@pytest.mark.parametrize(
    "some, message",
    [
        ([], "5 constants and is given 0 runs"),
        (runs(budgets=(1e12,)), "all runs have one budget"),
        ([*runs(), (1e5, 1e6, float("nan"))], "run 16 of 16 has losses nan"),
    ],
)
def test_a_study_without_a_law_is_refused(some, message):
    with pytest.raises(ConfigError, match=message):
        study.section(TOLD, study.Outcome([], [], some), "")


def test_the_sizes_of_the_sweep_are_those_of_its_models():
    defined = runpy.run_path(planned.find("configs/sweeps/scaling_law.py"))
    run = defined["sweep"]()[0]
    options = {key.removeprefix("model."): value for key, value in run.items() if key.startswith("model.")}
    config = models.resolve({"family": "gpt2", "preset": "small", **options})
    count = sum(map(math.prod, models.parameters(models.build(config)).shapes.values()))
    assert count == defined["parameters"](run["model.layers"], run["model.width"])
    for budget, sizes in defined["SIZES"].items():
        for size in sizes:
            spent = 6 * defined["parameters"](*size) * 512 * defined["run"](budget, *size)["train.steps"]
            assert spent == pytest.approx(budget, rel=0.01)
