"""Neural collapse: how near a classifier's features are to one point for each class, all as far apart as can be.

Papyan, Han and Donoho 2020, arXiv:2008.08186, sections 1.1 and 2.3.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from cloze.analysis import pictures
from cloze.analysis.base import ANALYSES, Analysis, Result
from cloze.analysis.examples import collect, labelled, open_task
from cloze.errors import ConfigError
from cloze.options import option


@ANALYSES.register("collapse")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Collapse(Analysis):
    """NC1 to NC3 of the vectors that a run's classifier reads, on its task's training and validation examples."""

    limit: int = option(
        2000, "training examples that are used, of those that the run has learned", least=20, most=2**31 - 1
    )

    def run(self, trained, report):
        self.check_model(trained)
        pictures.check()
        name, heads = trained.config.task.name, trained.model.config.heads_out
        if trained.config.task.kind != "class" or "class" not in heads:
            raise ConfigError(
                f"--what=collapse looks at what a classifier reads, and this run has the heads {', '.join(heads)}: "
                "finetune one with --config=configs/finetune/classify.py"
            )
        task, rows = open_task(trained, name, "")
        learned = list(trained.config.task.labels or task.labels())
        order = np.array([learned.index(label) for label in task.labels()])
        kernel_DC = np.asarray(trained.params["classifier"]["kernel"], np.float64)
        numbers = {}
        # By the seed of the run, whose task.limit draws so, too: the first ones are among those that it has learned.
        limit = min(self.limit, trained.config.task.limit or self.limit)
        for split, most in (("train", limit), ("validation", 0)):
            examples, labels = labelled(task, split, most, trained.config.seed)
            report(f"{name}: features of {len(examples):,} {split} examples")

            def features(params, batch):
                outputs = trained.model.apply({"params": params}, batch)
                return outputs.pooled.astype(jnp.float32)

            given = collect(features, trained, examples, rows, task.labels())
            numbers[split] = measures(given, order[labels], kernel_DC)
        lines, panels = [], []
        for kind, meaning in MEASURES.items():
            seen, held = (numbers[split][kind] for split in ("train", "validation"))
            lines.append(f"{meaning}: {seen:.4g} in training, {held:.4g} in validation")
            panels.append((meaning, "0 is collapse", {"training": [seen], "validation": [held]}))
        title = f"Neural collapse of {name} at step {trained.step}"
        return Result(numbers, tuple(lines), lambda path: pictures.bars(path, panels, title=title))


MEASURES = {
    "within": "NC1, spread within classes over spread between them",
    "norms": "NC2, spread of the class means' lengths",
    "angles": "NC2, spread of the angles between class means",
    "largest_angles": "NC2, distance of these angles from the largest that all can have",
    "duality": "NC3, distance of the classifier from the class means",
}


def measures(features_ND, labels, kernel_DC):
    """The measures of neural collapse, each 0 where it is complete.

    Args:
        features_ND: f32 [N, D], what the classifier reads.
        labels: int [N], columns of the kernel; classes without an example are left out.
        kernel_DC: f64 [D, C], the classifier's.

    Returns:
        {name in MEASURES: float}: `within` is the trace of Sigma_W pinv(Sigma_B) over the number of classes; `norms`
        and `angles` are standard deviations (of the lengths of centred class means over their mean, of the cosines
        between them); `largest_angles` the mean of |cosine + 1 / (C - 1)|; `duality` the squared Frobenius norm of the
        difference of the kernel and the class means, each of norm 1.

    Raises:
        ConfigError: there are examples of one class only.
    """
    x, there = np.asarray(features_ND, np.float64), np.unique(labels)
    count = len(there)
    if count < 2:
        raise ConfigError(f"all {len(x)} examples are of one class, so that there is nothing to tell apart")
    # The mean of all counts each class alike, as if there were as many examples of each (their setting).
    means = np.stack([x[labels == label].mean(axis=0) for label in there])
    centred = means - means.mean(axis=0)
    deviations = [x[labels == label] - mean for label, mean in zip(there, means, strict=True)]
    within = sum(one.T @ one / len(one) for one in deviations) / count
    between = centred.T @ centred / count
    lengths = np.linalg.norm(centred, axis=1)
    unit = centred / np.maximum(lengths, 1e-12)[:, None]
    cosines = (unit @ unit.T)[~np.eye(count, dtype=bool)]
    kernel = kernel_DC[:, there].T
    gap = kernel / np.linalg.norm(kernel) - centred / np.linalg.norm(centred)
    return {
        "within": float(np.trace(within @ np.linalg.pinv(between, rcond=1e-10)) / count),
        "norms": float(lengths.std() / lengths.mean()),
        "angles": float(cosines.std()),
        "largest_angles": float(np.abs(cosines + 1 / (count - 1)).mean()),
        "duality": float(np.sum(np.square(gap))),
    }
