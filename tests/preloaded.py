"""What verbs import, for the process that they are forked from. Nothing of it starts JAX's backend."""

import grain  # noqa: F401
import ml_collections.config_flags  # noqa: F401
import orbax.checkpoint  # noqa: F401
import tensorboardX  # noqa: F401

import cloze.configs.base
import cloze.training.branching
import cloze.training.evaluation
import cloze.training.features
import cloze.training.hugging_face
import cloze.training.loop
import cloze.training.merging
import cloze.training.peft_files
import cloze.training.restore
import cloze.training.run
import cloze.training.workdir  # noqa: F401
