"""Every option of Cloze, with its default and what it means. Experiments state only what differs.

A config file defines `get_config(arguments="")`, where `arguments` is the text after the colon in
`--config=configs/bert_base.py:tiny,data=wikipedia`, and starts from `experiment(name, arguments, ...)`. What the
experiments of a family have in common is in configs/encoders.py, decoders.py and encoder_decoders.py.

Two kinds of value need a word:
* A *duration* is a number of steps (1000) or a string with a unit: "2 epochs", "1e9 tokens",
  "5000 examples".
* `None` in `model` means "as the preset says"; elsewhere the comment says what None means.
"""

import json

import ml_collections
from ml_collections import config_dict

from cloze import options
from cloze.errors import ConfigError
from cloze.models.config import Execution, ModelConfig
from cloze.objectives import OBJECTIVES
from cloze.options import suggest

NEW_HEAD = r"(pooler|classifier|tagger|span_head)/.*"  # heads of tasks; those over the vocabulary come from pretraining
NEW_OUTPUT = r"(classifier|tagger|span_head)/.*"  # their last layers
NO_DECAY = r".*(norm|bias).*"  # parameters that do not decay; word vectors have none


METHODS = (  # strategies of finetuning, see training/methods.py
    "full", "linear_probe", "freeze", "last_layers", "gradual", "lp_ft", "bitfit", "lora", "adapters", "prefix",
    "prompt", "p_tuning",
)  # fmt: skip


def duration(default):
    """A field that takes a number of steps or a string with a unit, also on the command line."""
    return config_dict.FieldReference(default, field_type=object)


def optional(kind):
    """A field of type `kind` that is None until set."""
    return config_dict.placeholder(kind)


def _model():
    """All options of a model are None, "as the preset says", but for its name and how it runs."""
    return options.overrides(ModelConfig, family="bert", preset="base", **options.defaults(Execution))


def _tokenizer():
    c = ml_collections.ConfigDict()
    c.kind = "wordpiece"  # wordpiece, byte_bpe, bpe (GPT-1), word, unigram, sentencepiece_bpe
    c.vocab_size = 30522  # ids at most, special tokens and sentinels included; small text supports fewer
    c.path = ""  # an existing tokenizer.json, or a sentencepiece .model; empty: train on the config's text
    c.lowercase = True  # fold case and strip accents (wordpiece, bpe, word)
    # byte_bpe has RoBERTa's special tokens, <mask> among them, instead of <|endoftext|>; unigram and sentencepiece_bpe
    # have [CLS], [SEP] and [MASK] as well (ALBERT, XLNet)
    c.mask_token = False
    c.sentinels = 0  # sentinel tokens added after the learned pieces (T5: 100)
    c.training_bytes = 20_000_000  # text read to train a tokenizer, at most
    return c


def _data():
    c = ml_collections.ConfigDict()
    c.source = "pydocs"  # pydocs, text:GLOB, jsonl:GLOB, tfds:NAME, or a mixture "tfds:c4/en=0.8,text:books/*.txt=0.2"
    c.validation_source = ""  # where validation text comes from; empty: a share of the documents, by hash
    c.validation_share = 0.02  # share of the documents held out when validation_source is empty
    c.text_field = "text"  # the field with the text (jsonl, tfds)
    c.tfds_dir = ""  # where prepared tensorflow-datasets live; empty: TFDS_DATA_DIR or ~/tensorflow_datasets
    c.cache_dir = "~/.cache/cloze"  # prepared corpora and trained tokenizers, shared by all runs
    # Tokens per row that the (first) stack sees; of co-occurrences (glove), pairs of words in a row
    c.sequence_length = 512
    # Tokens per row of the decoder, None: as the objective computes it; of the answers of a decoder alone (responses)
    # at most so many, None: as many as there is room for
    c.target_length = optional(int)
    # windows over concatenated text; full sentences, as many as fit, across documents; or documents packed side by side
    c.packing = "windows"
    c.prefetch = 2  # batches prepared ahead by the reading thread
    return c


def _task():
    c = ml_collections.ConfigDict()
    # Labelled examples for an objective that reads them (tasks/), or several of them that are mixed: "sst2,mnli", which
    # only text to text can (responses); empty: none
    c.name = ""
    c.files = ""  # folder of the plain files in which a public benchmark is distributed; empty: tensorflow-datasets
    # What is learned of an example: class, regression, tag, span, choice or text; empty: as the task says. A task of
    # classes can be read as text, with words for labels (T5)
    c.kind = ""
    c.labels = ()  # names of the classes or tags, in the order of the head's scores; filled in from the task
    c.limit = 0  # labelled training examples that are used, drawn by `seed`; 0: all
    # How texts of different lengths make a batch, which has the same examples in any case: pad (to
    # data.sequence_length), buckets (to the least of a few lengths that holds the batch) or pack (side by side)
    c.batching = "buckets"
    c.markers = False  # decoders: GPT-1's new tokens START, DELIM and EXTRACT around texts, not the one that ends them
    c.both_orders = False  # pairs are read in both orders, whose states are added (GPT-1's similarity)
    c.stride = 128  # tokens by which the windows over a long context move on (span)
    c.max_question = 64  # tokens of a question at most (span)
    c.max_answer = 30  # tokens of an answer at most (span)
    c.n_best = 20  # starts and ends of answers that are combined (span)
    c.null_threshold = 0.0  # no answer is given where its score exceeds the best answer's by more than this (span)
    # text: a single task whose examples are texts also has words in front that ask for it, "summarize: ..." (T5); tasks
    # of other kinds and tasks that are mixed always have them
    c.instructions = False
    c.largest_share = 2**16  # examples that a task counts for at most when several are mixed (T5: K, 2^16 to 2^21)
    return c


def _finetune():
    c = ml_collections.ConfigDict()
    # What trains of a model that comes from elsewhere (training/methods.py): full (what `trainable` says), linear_probe
    # (the head), freeze (all but the bottom `layers`), last_layers (the head and the top `layers`), gradual (from the
    # top, one layer more at a time), lp_ft (the head, then everything), bitfit (biases), lora, adapters, prefix, prompt
    # or p_tuning (small new parts). Heads train always, but of these last ones heads over the vocabulary
    c.method = "full"
    c.also = ()  # patterns over names of parameters that train besides
    c.layers = 0  # layers of freeze and last_layers
    c.save = "auto"  # what checkpoints hold: all, trainable (and the name of the base), auto: that for small new parts

    c.unfreeze = "epochs"  # gradual: the next layer thaws after `unfreeze_every`; or on a plateau of validation's loss
    c.unfreeze_every = optional(object)  # None: evenly, so that in the second half of the run everything trains
    c.patience = 2  # validations without improvement that are a plateau
    c.least_improvement = 0.0  # of the validation loss, to count as one
    c.probe_steps = duration("3 epochs")  # lp_ft: the head alone trains so long, then train.steps count for everything
    c.probe_learning_rate = 1e-3  # lp_ft: constant rate of that

    # linear_probe: a frozen body runs once over each example, and its states are kept
    c.cache_features = True
    c.feature_norm = "none"  # of these states: none, standard (mean 0 and deviation 1 over the training examples), unit
    c.feature_size = 0  # principal components of them that are kept; 0: all

    c.lora_rank = 8
    c.lora_alpha = 16.0  # the product of the two factors is scaled by alpha / rank
    # Ordered rules (pattern over names of kernels, adapted or not)
    c.lora_targets = ((r".*/attention/(query|value)/kernel", True), (r".*", False))
    c.adapter_size = 64  # width of the bottlenecks of adapters (Houlsby: 8, 64, 256)
    c.prefix_length = 10  # keys and values in front of each layer's own (prefix)
    c.prefix_hidden = 512  # width of the network that they are computed with while they train; 0: they train directly
    c.prefix_gate = True  # weigh the prefix with a gate that opens from 0, so that training begins at the base model
    c.prompt_length = 20  # vectors in front of the text (prompt, p_tuning)
    c.prompt_init = "vocabulary"  # they begin as vectors of frequent tokens (vocabulary) or at random (random)
    c.prompt_hidden = 0  # width of the LSTM and the network of p_tuning; 0: the model's

    # Differentially private training (training/private.py), of whatever trains
    c.dp_clip_norm = 0.0  # the gradient of each example is scaled to this norm at most; 0: training is not private
    c.dp_noise_multiplier = 1.0  # deviation of the noise on their sum, in units of dp_clip_norm
    c.dp_delta = 1e-5  # chance at which the guarantee may fail; the log gives epsilon for it
    return c


def _train():
    c = ml_collections.ConfigDict()
    c.steps = duration(100_000)  # length of the run
    c.batch_size = 256  # rows per step, over all devices
    c.microbatches = 1  # parts that a step's batch is cut into; gradients are summed
    c.log_every = duration(50)  # metrics to the log
    c.eval_every = duration(1_000)  # validation
    c.eval_batches = 20  # validation batches at most
    c.dropout_generator = "threefry2x32"  # random bits for dropout: threefry2x32, rbg or unsafe_rbg (fastest)
    c.compile_cache = "~/.cache/cloze/compiled"  # compiled programs kept between runs; empty: nowhere
    return c


def _optimizer():
    c = ml_collections.ConfigDict()
    c.name = "adamw"  # adamw, adam_no_bias_correction (BERT), adafactor, adagrad, lamb, lion, muon
    # adagrad has no betas; adafactor takes none of beta1, beta2, epsilon: decay 1 - step ** -0.8, updates clipped at 1.
    c.learning_rate = 1e-4  # peak
    # After warm-up: linear, cosine, inverse_sqrt or constant; slanted_triangular rises over warmup_steps and falls
    # linearly to final_fraction (ULMFiT: 1/32)
    c.schedule = "linear"
    c.warmup_steps = duration(10_000)  # linear from 0; for inverse_sqrt: constant until here, as T5
    c.decay_steps = optional(object)  # duration over which the schedule falls, warm-up included; None: train.steps.
    # Set it, and train.steps only says where a run stops: a shorter run is the beginning of the longer one.
    # The schedule ends at this fraction of the peak (linear, cosine), or also begins there (slanted_triangular)
    c.final_fraction = 0.0
    c.beta1 = 0.9  # decay of the first moment
    c.beta2 = 0.999  # decay of the second moment
    c.epsilon = 1e-6  # added to the root of the second moment
    c.weight_decay = 0.01  # decoupled, times the learning rate
    c.decay_rules = ((NO_DECAY, False), (r".*", True))  # which parameters decay: (pattern, yes or no)
    # Factors on the learning rate: ordered rules (pattern, factor), times layer_decay for each layer below the head
    c.multipliers = ((r".*", 1.0),)
    c.layer_decay = 1.0  # ELECTRA: 0.8; ULMFiT: 1 / 2.6
    c.clip_norm = 1.0  # gradients are scaled to this global norm at most; 0: never
    c.scale_by_parameter = True  # adafactor: updates are in proportion to the size of their parameter
    c.muon_momentum = 0.95  # momentum of muon's matrices; all else runs adamw with the settings above
    return c


def get_base():
    """The configuration with every option at its default."""
    c = ml_collections.ConfigDict()
    c.name = "base"  # the experiment's name; names the default workdir
    c.seed = 0  # decides initial parameters, order of the data, masks and dropout
    c.devices = 1  # devices the experiment is meant for; only checked by tests and planning
    c.model = _model()
    c.objective = options.Choice("name", "objective", OBJECTIVES, "masked_lm")  # a file of objectives/
    c.tokenizer = _tokenizer()
    c.data = _data()
    c.task = _task()
    c.finetune = _finetune()
    c.train = _train()
    c.optimizer = _optimizer()
    c.trainable = ((r".*", True),)  # ordered rules (pattern over parameter names, trains or not)

    c.init = ml_collections.ConfigDict()
    # Workdir of a run, or a Hugging Face directory, whose parameters this one starts from; empty: all are initialised
    c.init.checkpoint = ""
    # The tokenizer, and all options of `model` that are at their defaults, are those of init.checkpoint; False again
    # once they are filled in
    c.init.inherit = False
    c.init.parameters = True  # False: what is inherited is the shape alone, and all parameters are initialised
    # Ordered rules (pattern over this model's names, name in that run or None for "not from there"); r"\1" is the
    # pattern's first group. What that run does not have is initialised.
    c.init.rules = ((r"(.*)", r"\1"),)

    c.checkpoint = ml_collections.ConfigDict()
    c.checkpoint.every = duration(1_000)  # steps between checkpoints; the last step is always saved
    c.checkpoint.keep = 2  # newest checkpoints kept

    c.mesh = ml_collections.ConfigDict()  # devices along each axis; -1 takes what is left
    c.mesh.data = -1  # copies of the model, each with its own rows
    c.mesh.fsdp = 1  # parameters and rows are both cut along this axis
    c.mesh.tensor = 1  # heads, feed-forward and vocabulary are cut along this axis
    c.mesh.sequence = 1  # positions within a row are cut along this axis
    return c


PUBLIC_DATA = {  # words for data=..., each a source string
    "pydocs": "pydocs",
    "wikipedia": "tfds:wikipedia/20230601.en",
    "c4": "tfds:c4/en",
    "lm1b": "tfds:lm1b",
    "pg19": "tfds:pg19",
}


def parse_arguments(arguments, **known):
    """Reads the text after the colon of --config: bare switches and key=value pairs.

    Args:
        arguments: e.g. "tiny,data=wikipedia", or "data=wikipedia=0.8,text:books/*.txt=0.2".
        **known: the arguments that this config takes beyond `tiny` and `data`, each with the values that it may have,
            the default first; all are of one type. A string instead of them is the default of any text.

    Returns:
        A dict with a value for every known argument. `data` is a source string.

    Raises:
        ConfigError: an unknown argument, or a value that the argument cannot have.
    """
    defaults = {"tiny": False, "data": "pydocs"}
    defaults |= {key: choices if isinstance(choices, str) else choices[0] for key, choices in known.items()}
    values, last = dict(defaults), None
    for part in filter(None, (part.strip() for part in (arguments or "").split(","))):
        key, _, text = part.partition("=")
        if key not in defaults and last == "data" and (":" in key or key in PUBLIC_DATA):  # more of a mixture
            values["data"] += "," + part
            continue
        if key not in defaults:
            takes = [key if key == "tiny" else f"{key}={default}" for key, default in defaults.items()]
            hint = suggest(key, defaults) or "."
            raise ConfigError(f"unknown config argument {key!r}{hint} Known, with their defaults: {', '.join(takes)}")
        values[key] = _argument(key, part, text, defaults[key], known.get(key))
        last = key
    values["data"] = ",".join(_public_data(part) for part in values["data"].split(","))
    return values


def _argument(key, part, text, default, choices):
    """The value of one argument: of a switch, of one with a few possible values, or any text."""
    if isinstance(default, bool):
        if part != key and text.lower() not in ("true", "false"):
            raise ConfigError(f"config argument {key!r} is a switch: write {key} or {key}=false, not {part!r}")
        return text.lower() != "false"
    if not text:
        raise ConfigError(f"config argument {key!r} needs a value, for example {key}={default}")
    if choices is None or isinstance(choices, str):
        return text
    for choice in choices:
        if str(choice) == text.lower():
            return choice
    hint = suggest(text, choices) or "."
    raise ConfigError(f"config argument {key}={text!r} is unknown{hint} Known: {', '.join(map(str, choices))}")


def whole_number(key, text):
    """The value of an argument that is a number of things."""
    if not text.isdigit():
        raise ConfigError(f"config argument {key}={text!r} is not a whole number")
    return int(text)


def _public_data(part):
    """A part of a mixture with the word for public data, if it is one, replaced by its source; the weight stays."""
    word, equals, weight = part.partition("=")
    return PUBLIC_DATA.get(word, word) + equals + weight


def experiment(name, arguments, **known):
    """What every experiment starts from.

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config.
        **known: see `parse_arguments`.

    Returns:
        (configuration with every option at its default but `name` and `data.source`, dict of the arguments' values).

    Raises:
        ConfigError: see `parse_arguments`.
    """
    values = parse_arguments(arguments, **known)
    c = get_base()
    c.name = name
    c.data.source = values["data"]
    return c, values


def to_dict(config):
    """The configuration as a JSON dict; tuples become lists."""
    return json.loads(json.dumps(config.to_dict()))


def like(config):
    """`get_base()` with the choices of a configuration: of the same objective, and so on."""
    c = get_base()
    for name, section in config.items():
        if isinstance(section, options.Choice):
            c[name][section.key] = section[section.key]
    return c


def load(path):
    """The configuration that a run saved as config.json."""

    def fill(section, values):
        section.update({key: _tuples(value) for key, value in values.items() if not isinstance(value, dict)})
        for key, value in values.items():
            if isinstance(value, dict):
                fill(section[key], value)

    try:
        with open(path) as file:
            values = json.load(file)
        config = get_base()
        fill(config, values)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; is it the directory of a run?") from None
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise ConfigError(f"{path} is not a configuration of this version: {error}") from None
    return config


def _tuples(value):
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
