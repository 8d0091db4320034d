"""generate.py as a user meets it: what it prints and keeps, and what it refuses. Models have their first parameters."""

import json
import shutil

import pytest

from cloze.data import tokenizers
from tests.test_verbs import check_refused
from tests.training import finetuned, tiny_run
from tests.verbs import run


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    path = tmp_path_factory.mktemp("generate")
    tiny_run.write_text(path / "text")
    for family in ("gpt2", "bert"):
        program = tiny_run.build(tiny_run.config(family, path))
        finetuned.save(program, program.new_state(finetuned.quiet), path / family)
    return path


def test_prompts_of_a_file_and_samples_are_kept(root, tmp_path):
    prompts, output = tmp_path / "prompts.jsonl", tmp_path / "answers.jsonl"
    asked = [{"prompt": "the file", "id": 7}, {"prompt": "a"}, {"prompt": "some list"}]
    prompts.write_text("\n".join(map(json.dumps, asked)))
    arguments = [f"--prompts={prompts}", f"--output={output}", "--num_samples=2", "--max_tokens=4", "--batch_size=2"]
    done = run("generate", f"--workdir={root / 'gpt2'}", *arguments)
    assert done.returncode == 0 and "3/3 prompts" in done.stdout and "tokens/s" in done.stdout, done.stderr
    kept = [json.loads(line) for line in output.read_text().splitlines()]
    assert [(one["prompt"], one["sample"]) for one in kept] == [(a["prompt"], n) for a in asked for n in (0, 1)]
    assert [one.get("id") for one in kept] == [7, 7, None, None, None, None]
    assert len({one["text"] for one in kept}) > 3 and all(0 <= one["tokens"] <= 4 for one in kept)
    again = run("generate", f"--workdir={root / 'gpt2'}", *arguments)
    check_refused(again, 2, f"--output={output} is there already")


def test_what_streams_is_what_is_printed(root):
    arguments = [f"--workdir={root / 'gpt2'}", "--prompt=the file", "--max_tokens=6", "--temperature=1", "--seed=3"]
    plain, streamed = run("generate", *arguments), run("generate", *arguments, "--stream")
    assert plain.returncode == streamed.returncode == 0, plain.stderr + streamed.stderr
    assert len(plain.stdout.strip()) > len("the file\n  ") and plain.stdout.split() == streamed.stdout.split()


def test_a_dialogue_is_a_line_and_an_answer_in_turn(root, tmp_path):
    workdir = shutil.copytree(root / "gpt2", tmp_path / "chat")
    tokenizer = tokenizers.load(workdir / "tokenizer")
    tokenizer.carried["chat_template.jinja"] = "{% for m in messages %}{{ m.content + ' ' }}{% endfor %}"
    tokenizer.save(workdir / "tokenizer")
    typed = "the file\na <|endoftext|>\nthe file\n\nnever read\n"
    drawn = [f"--workdir={workdir}", "--max_tokens=6", "--temperature=1", "--seed=3"]
    done = run("generate", *drawn, "--chat", stdin=typed)
    assert done.returncode == 0 and done.stdout.count("> ") == 4, done.stderr
    first, refused, second, nothing = done.stdout.split("> ")[1:]
    alone = run("generate", *drawn, "--prompt=the file ")
    assert first.strip() and first.strip() in alone.stdout and nothing == "\n"
    assert "spells '<|endoftext|>'" in refused and second.strip()


def test_blanks_are_filled_together(root):
    done = run(
        "generate", f"--workdir={root / 'bert'}", "--prompt=the [MASK] is [MASK]", "--pieces=2", "--candidates=3"
    )
    assert done.returncode == 0 and done.stdout.count("together:") == 3 and "blank 2:" in done.stdout, done.stderr
    refused = run("generate", f"--workdir={root / 'bert'}", "--prompt=the [MASK]", "--beams=2", "--stream=false")
    check_refused(refused, 2, "--beams", "this model fills blanks")


REFUSED = {
    "out of range": (["--prompt=a", "--top_p=1.5"], ["--top_p=1.5"]),
    "beams and a stream": (["--prompt=a", "--stream", "--beams=2"], ["--stream", "--beams"]),
    "a stream and a file": (["--prompt=a", "--stream", "--output=x"], ["--stream", "--output"]),
    "a stream of several": (["--prompt=a", "--stream", "--num_samples=2"], ["--num_samples"]),
    "chat and a prompt": (["--chat", "--prompt=a"], ["--chat", "--prompt"]),
    "a system without chat": (["--prompt=a", "--system=b"], ["--system"]),
}
REFUSED_LATER = {
    "no chat": (["--chat"], ["--chat", "chat template"]),
    "too long": (["--prompt=" + "the file " * 20, "--max_tokens=8"], ["has room for 24", "shorten it"]),
    "beams that draw": (["--prompt=a", "--beams=2", "--top_k=5"], ["--top_k", "draws nothing"]),
    "an empty stop": (["--prompt=a", "--stop="], ["--stop= is no text"]),
    "blanks": (["--prompt=a", "--pieces=2"], ["--pieces", "this model writes"]),
}


@pytest.mark.parametrize("case", [*REFUSED, *REFUSED_LATER])
def test_what_does_not_go_together_is_refused(case, root):
    arguments, words = {**REFUSED, **REFUSED_LATER}[case]
    check_refused(run("generate", f"--workdir={root / 'gpt2'}", *arguments), 2, *words)


def test_a_file_without_prompts_is_named(root, tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}')
    for name, word in (("bad.jsonl", "line 1"), ("missing.txt", "No such file")):
        done = run("generate", f"--workdir={root / 'gpt2'}", f"--prompts={tmp_path / name}")
        check_refused(done, 3, str(tmp_path / name), word)
