"""Should you mask 15%? (Wettig et al. 2023, arXiv:2202.08005.)"""

from cloze.sweeps import product


def sweep():
    """The runs."""
    return product({"config": "configs/demo.py", "objective.mask_rate": [0.15, 0.4]}, seed=[0, 1, 2])
