"""The verbs as a user meets them: a process, its messages and its exit code."""

import json
import shutil
import signal
import time

import pytest

from cloze.configs import base
from tests.training import tiny_run, tiny_task
from tests.verbs import TIMEOUT, Done, run, small, start


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    path = tmp_path_factory.mktemp("verbs")
    tiny_run.write_text(path / "text")
    return path


@pytest.fixture(scope="module")
def pretrained(root):
    """(directory of a finished run, how its process ended), started and compiled as users have it."""
    workdir = root / "run"
    process = start("train", *small(root), f"--workdir={workdir}", flags="")
    stdout, stderr = process.communicate(timeout=300)
    return workdir, Done(process.returncode, stdout, stderr)


def check_refused(done, code, *words):
    """One message on standard error that names cause and fix; no traceback."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


def test_convert_averages_checkpoints_and_branches_off_from_one(pretrained, tmp_path):
    workdir, _ = pretrained
    done = run("convert", "average", f"--workdir={workdir}", "--steps=2,4", f"--target={tmp_path}/mean")
    assert done.returncode == 0 and (tmp_path / "mean" / "checkpoints" / "4").is_dir(), done.stderr
    done = run("convert", "branch", f"--workdir={workdir}", "--steps=2", f"--target={tmp_path}/other")
    assert done.returncode == 0 and (tmp_path / "other" / "checkpoints" / "2" / "seal.json").is_file(), done.stderr
    refused = run("convert", "average", f"--workdir={workdir}", "--steps=2,x", f"--target={tmp_path}/third")
    check_refused(refused, 2, "--steps=2,x", "separated by commas")
    refused = run("generate", f"--workdir={workdir}", "--prompt=a [MASK]", "--ema")
    check_refused(refused, 2, "keeps no moving averages", "train.ema_decay")


@pytest.mark.parametrize("flag", ["--describe", "--help"])
def test_a_reader_may_end_before_us(flag):
    """As `head` does; --help is shorter than a buffer, and is written as the process ends."""
    process = start("train", "--config=configs/demo.py", flag)
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait(TIMEOUT) == 141


def test_describe_prints_every_option_and_runs_nothing(tmp_path):
    workdir = tmp_path / "run"
    done = run("train", "--config=configs/gpt2.py:tiny", "--describe", f"--workdir={workdir}", optimizer__name="lion")
    assert done.returncode == 0 and not workdir.exists(), done.stderr
    lines = done.stdout.splitlines()
    described = {line.partition(" = ")[0] for line in lines if not line.startswith(" ")}
    config = base.get_base()
    config.objective.name, config.optimizer.name = "causal_lm", "lion"
    sections = {name: section for name, section in config.items() if hasattr(section, "items")}
    options = {f"{name}.{key}" for name, section in sections.items() for key in section}
    assert described == options | (set(config) - set(sections))
    place = lines.index("optimizer.schedule = 'cosine'  (default 'linear')")
    assert lines[place + 1].startswith("    after warm-up: ") and lines[place + 1].endswith("slanted_triangular]")
    assert "model.activation = 'gelu_tanh'" in done.stdout  # as the preset says


def test_train_then_fill_blanks_then_everything_that_meets_the_workdir(root, pretrained):
    workdir, done = pretrained
    assert done.returncode == 0, done.stderr
    for word in ("where it differs", "parameters", "Data ", "Compiled the step", "FLOP", "per device", "eta", "Done"):
        assert word in done.stdout, done.stdout
    for name in ("config.json", "metrics.jsonl", "tensorboard", "checkpoints/4", "tokenizer", "log.txt"):
        assert (workdir / name).exists(), name
    assert json.loads((workdir / "metrics.jsonl").read_text().splitlines()[0])["step"] == 1

    again = run("train", *small(root), f"--workdir={workdir}")
    assert again.returncode == 0 and "finished" in again.stdout
    check_refused(
        run("train", *small(root), f"--workdir={workdir}", train__batch_size=8), 2, "train.batch_size", "--workdir"
    )
    filled = run("generate", f"--workdir={workdir}", "--prompt=The [MASK] is a list.")
    assert filled.returncode == 0 and "blank 1:" in filled.stdout, filled.stderr
    check_refused(run("generate", f"--workdir={workdir}", "--prompt=No blank here."), 2, "[MASK]")
    check_refused(run("generate", f"--workdir={root}", "--prompt=[MASK]"), 2, "config.json")

    tokenizer = workdir / "tokenizer" / "tokenizer.json"
    whole = tokenizer.read_text()
    tokenizer.write_text("{")
    check_refused(run("train", *small(root), f"--workdir={workdir}", train__steps=6), 3, "tokenizer.json")
    tokenizer.write_text(whole)


def test_a_signal_saves_and_says_how_to_go_on(root):
    workdir = root / "stopped"
    arguments = [*small(root), f"--workdir={workdir}", "--config.train.steps=100000"]
    process = start("train", *arguments)
    for line in process.stdout:
        if line.startswith("step 3/"):
            break
    busy = run("train", *arguments)
    check_refused(busy, 2, "in use")
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 75 and "same command again" in errors
    assert time.monotonic() - began < 60
    saved = max(int(p.name) for p in (workdir / "checkpoints").iterdir())
    resumed = run("train", *small(root), f"--workdir={workdir}", train__steps=saved + 1)
    assert resumed.returncode == 0 and f"Resuming after step {saved}" in resumed.stdout, resumed.stderr
    steps = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in steps if line["split"] == "train"]
    assert sorted(set(steps)) == steps


def test_a_refused_start_leaves_the_workdir_to_the_corrected_one(root):
    workdir = root / "corrected"
    check_refused(run("train", *small(root), f"--workdir={workdir}", model__width=33), 2, "model.width=33")
    (workdir / "tokenizer").mkdir()  # as a start that got further would have left it
    (workdir / "tokenizer" / "tokenizer.json").write_text("of another configuration")
    done = run("train", *small(root), f"--workdir={workdir}", train__steps=1)
    assert done.returncode == 0, done.stderr
    assert json.loads((workdir / "tokenizer" / "tokenizer.json").read_text())["model"]["type"] == "WordPiece"


def test_divergence_ends_with_4(root):
    changes = dict(optimizer__learning_rate=1e30, optimizer__warmup_steps=0, optimizer__schedule="constant")
    done = run("train", *small(root), f"--workdir={root / 'diverged'}", checkpoint__every=1, **changes)
    check_refused(done, 4, "diverged", "checkpoint", "learning_rate")


REFUSED = {
    "no config": (["train"], 2, ["--config"]),
    "unknown option": (["train", "--config=configs/bert_base.py", "--config.train.stesp=5"], 2, ["steps"]),
    "wrong type": (["train", "--config=configs/bert_base.py", "--config.train.batch_size=many"], 2, ["batch_size"]),
    "unknown argument": (["train", "--config=configs/bert_base.py:tniy"], 2, ["did you mean 'tiny'"]),
    "unknown flag": (["train", "--config=configs/bert_base.py", "--wrkdir=x"], 2, ["workdir"]),
    "no such config": (["train", "--config=configs/brt_base.py"], 2, ["configs/bert_base.py"]),
    "stray word": (["train", "--config=configs/bert_base.py", "tiny"], 2, ["tiny"]),
    "no prompt": (["generate"], 2, ["--prompt"]),
    "prompt in Latin-1": (["generate", "--prompt=caf\udce9"], 2, ["--prompt='caf\\udce9' is not UTF-8"]),
    "no place": (
        ["train", "--config=configs/bert_base.py:tiny", "--config.data.cache_dir=/dev/null/x"],
        2,
        ["cannot use /dev/null/x", "Not a directory"],
    ),
    "bad process": (["train", "--config=configs/bert_base.py:tiny", "--num_processes=2"], 2, ["--coordinator"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_usage_ends_with_2(case, tmp_path):
    arguments, code, words = REFUSED[case]
    more = [] if case == "no config" else [f"--workdir={tmp_path / 'run'}"]
    check_refused(run(*arguments, *more), code, *words)


def test_prepare_prepares_once(root, tmp_path):
    arguments = [*small(root), f"--config.data.cache_dir={tmp_path}"]
    first, second = run("prepare", *arguments), run("prepare", *arguments)
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert "Training a wordpiece tokenizer" in first.stdout and "prepared 60 documents" in first.stdout
    assert "Training" not in second.stdout and "prepared" not in second.stdout
    assert "validation: text:" in second.stdout


def test_prepare_is_one_of_several_without_a_coordinator(root, tmp_path):
    """The others have not come: it does their shares, too."""
    arguments = [*small(root), f"--config.data.cache_dir={tmp_path}", "--num_processes=2"]
    done = run("prepare", *arguments, "--process_id=1")
    assert done.returncode == 0, done.stderr
    assert "[process 1 of 2] prepared 60 documents" in done.stdout
    check_refused(run("prepare", *arguments), 2, "--process_id=I with 0 <= I < N")


def test_train_then_finetune_then_eval(root, pretrained):
    tuned, files = root / "tuned", tiny_task.write(root / "task")
    base, _ = pretrained
    settings = dict(
        init__checkpoint=base, task__files=files, data__cache_dir=root / "cache", data__sequence_length=16,
        train__batch_size=8, train__steps=2, train__eval_every=2, train__compile_cache="", optimizer__warmup_steps=1,
        optimizer__decay_steps=2,
    )  # fmt: skip
    config = "--config=configs/finetune/classify.py:tiny,task=jsonl:class"
    done = run("train", config, f"--workdir={tuned}", **settings)
    assert done.returncode == 0 and "not taken from it: classifier" in done.stdout, done.stderr

    scores, predictions = root / "scores.json", root / "predictions"
    asked = ["--task=jsonl:class", f"--output={scores}", f"--predictions={predictions}"]
    done = run("eval", f"--workdir={tuned}", *asked)
    assert done.returncode == 0 and "jsonl:class, validation, 12 examples" in done.stdout, done.stderr
    found = json.loads(scores.read_text())["jsonl:class"]
    lines = [json.loads(line) for line in (predictions / "jsonl-class.jsonl").read_text().splitlines()]
    labels = [json.loads(line)["label"] for line in (files / "validation.jsonl").read_text().splitlines()]
    assert found["accuracy"] == sum(one["label"] == label for one, label in zip(lines, labels, strict=True)) / 12
    assert found["majority/accuracy"] == 0.5


def test_vectors_are_trained_and_written_for_their_library(root, pretrained):
    tuned, files = root / "vectors", tiny_task.write(root / "pairs", "embedding")
    settings = dict(
        init__checkpoint=pretrained[0], task__files=files, data__cache_dir=root / "cache", data__sequence_length=16,
        train__batch_size=8, train__steps=2, train__eval_every=2, train__compile_cache="", optimizer__warmup_steps=1,
    )  # fmt: skip
    done = run(
        "train", "--config=configs/finetune/embed.py:tiny,task=jsonl:embedding", f"--workdir={tuned}", **settings
    )
    assert done.returncode == 0 and "recall_at_1" in done.stdout, done.stderr
    done = run("convert", "to_sentence_transformers", f"--workdir={tuned}", f"--target={root / 'library'}")
    assert done.returncode == 0 and "BertModel for sentence-transformers, vectors of 32" in done.stdout, done.stderr
    assert json.loads((root / "library" / "1_Pooling" / "config.json").read_text())["pooling_mode_mean_tokens"]
    asked = ["convert", "to_sentence_transformers", f"--workdir={pretrained[0]}", f"--target={root / 'other'}"]
    check_refused(run(*asked), 2, "has learned no vectors", "configs/finetune/embed.py")


def test_analyses_write_numbers_and_a_picture(pretrained, tmp_path):
    asked = [f"--workdir={pretrained[0]}", f"--output={tmp_path}", "--what=attention", "--text=the list is open"]
    done = run("analyze", *asked)
    assert done.returncode == 0 and "layer 1: head" in done.stdout, done.stderr
    numbers = json.loads((tmp_path / "attention.json").read_text())
    assert len(numbers["weights"][0][0]) == len(numbers["tokens"]) and (tmp_path / "attention.html").is_file()
    for arguments, words in (
        ([*asked[:2], "--what=atention"], ["did you mean 'attention'"]),
        ([*asked[:2], "--what=context", "--text=a"], ["text", "see --help"]),
        (asked[:1], ["--what is required"]),
    ):
        check_refused(run("analyze", *arguments), 2, *words)


def test_two_runs_are_judged_side_by_side(pretrained, tmp_path):
    first, second = pretrained[0], tmp_path / "copy"
    shutil.copytree(first, second)
    pair = {"sentence_good": "It is a list.", "sentence_bad": "It are a list.", "UID": "agreement", "field": "syntax",
            "linguistics_term": "agreement"}  # fmt: skip
    files = tmp_path / "pairs"
    files.mkdir()
    (files / "agreement.jsonl").write_text(f"{json.dumps(pair)}\n" * 3)
    asked = ["--task=blimp", f"--files={files}", f"--output={tmp_path}/scores.json"]
    done = run("eval", f"--workdir={first},{second}", *asked, "--compare")
    assert done.returncode == 0 and "scored by pll" in done.stdout, done.stderr
    assert "alone has 0 right" in done.stdout and "McNemar's exact test: p = 1" in done.stdout
    found = json.loads((tmp_path / "scores.json").read_text())
    assert found[str(first)] == found[str(second)]
    assert {"accuracy", "accuracy_stderr", "shortest/accuracy", "agreement/accuracy"} <= set(found[str(first)]["blimp"])

    for arguments, code, words in (
        (["--task=blimb"], 2, ["did you mean 'blimp'"]),
        ([*asked, "--scoring=causal"], 2, ["--scoring=causal", "use pll"]),
        ([*asked, "--compare"], 2, ["--compare tests two runs", "names 1"]),
        (["--task=jsonl:class", "--num_shots=1,x"], 2, ["--num_shots=1,x", "such as 0,1,4,8"]),
        ([], 2, ["--task, --lm_eval or --validate_as is required"]),
    ):
        check_refused(run("eval", f"--workdir={first}", *arguments), code, *words)
    (files / "agreement.jsonl").write_text('{"sentence_good": "It is.", "UID": "a"}\n')
    check_refused(run("eval", f"--workdir={first}", *asked), 3, "agreement.jsonl:1", "'sentence_bad'")


def test_help_shows_an_example_and_ends_with_0():
    for verb in ("train", "generate", "prepare", "eval", "analyze"):
        done = run(verb, "--help")
        assert done.returncode == 0 and f"python {verb}.py --" in done.stdout
        assert ("--coordinator" in done.stdout) == (verb != "analyze")
        assert ("--heartbeat_timeout" in done.stdout) == (verb not in ("prepare", "analyze"))
