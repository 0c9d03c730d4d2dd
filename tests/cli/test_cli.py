"""The command ``tangent``: its commands and their help, exit statuses, completion, and what starting it costs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tangent_lib import cli
from tangent_lib.cli.app import app
from tangent_lib.modes import PARAMETERS
from tangent_lib.runtime.disk import ROOT
from tangent_lib.runtime.errors import InputError

GROUPS = {"data": ["list", "prepare", "verify"], "checkpoints": ["list", "import", "export"]}
ALONE = ["finetune", "dry-run", "record", "pretrain", "check", "gpus"]
COMMANDS = [[name] for name in ALONE] + [[group, name] for group, names in GROUPS.items() for name in names]
WITH_PARAMETERS = [["finetune"], ["dry-run"], ["record"], ["check"], ["checkpoints", "export"]]


def of(words):
    found = app
    for word in words:
        found = found[word]
    return found


# -- help --------------------------------------------------------------------------------------------------------------
def test_the_commands_are_these():
    names = lambda found: [name for name in found if not name.startswith("-")]
    assert sorted(names(app)) == sorted([*GROUPS, *ALONE])
    assert {group: names(app[group]) for group in GROUPS} == GROUPS


@pytest.mark.parametrize("words", [[], *([group] for group in GROUPS), *COMMANDS], ids=" ".join)
def test_every_command_has_a_line_of_help(run, words):
    status, out, err = run(*words, "--help")
    assert (status, err) == (0, []) and out[0].startswith(f"Usage: {' '.join(['tangent', *words])}")
    assert len(of(words).help.splitlines()) == 1 and of(words).help in " ".join(" ".join(out).split())
    assert run(*words, "-h") == (status, out, err)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_option_has_help(words):
    options = of(words).assemble_argument_collection()
    assert all(option.parameter.help for option in options), [option.name for option in options if not option.parameter.help]
    assert ("-p" in [option.name for option in options]) == (words in WITH_PARAMETERS)


def test_help_costs_little(tmp_path):
    code = (
        "import sys, time; from tangent_lib.cli import main; status = main(['--help']);"
        "print(status, time.process_time() < 1, {'torch', 'numpy', 'open_clip', 'matplotlib'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path).stdout
    assert shown.splitlines()[-1] == "0 True set()"


def test_as_a_module_it_is_the_same_command(tmp_path):
    command = [sys.executable, "-m", "tangent_lib.cli", "data", "list", "Carz", "--data-root", str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 2 and found.stdout == "" and found.stderr.startswith("error: unknown dataset 'Carz'")


# -- exit statuses -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("words", [[], *([group] for group in GROUPS)], ids=" ".join)
def test_without_a_command_the_help_is_an_error(run, words):
    status, out, err = run(*words)
    assert (status, out) == (2, []) and err[0] == f"Usage: {' '.join(['tangent', *words])} COMMAND"


@pytest.mark.parametrize(
    "words, message",
    [
        ("recrod", 'Unknown command "recrod". Did you mean "record"?'),
        ("data lst", 'Unknown command "lst". Did you mean "list"?'),
        ("finetune --task Digits", "--training requires an argument. See 'tangent finetune --help'."),
        ("finetune --task Digits --trainin linear", "--trainin"),
        ("finetune --task Digits --task Signs --training linear", "--task specified multiple times."),
        ("dry-run -p steps", "-p requires 2 positional arguments. Only got 1."),
        ("record --modl ViT-B-32", "Unknown option: --modl. Did you mean --model?"),
        ("check now", "Unused Tokens: ['now']"),
        ("pretrain --model ViT-B-32", 'Invalid value "ViT-B-32" for --model. Choose from: "ViT-Mini-8", '),
        ("gpus two true", 'Invalid value for COUNT: unable to convert "two" into int.'),
        ("gpus -1 true", "Must be >= 0"),
        ("gpus 1", "COMMAND requires an argument. See 'tangent gpus --help'."),
    ],
)
def test_wrong_usage_ends_in_one_line_and_status_2(run, words, message):
    status, out, err = run(*words.split())
    assert (status, out, len(err)) == (2, [], 1) and err[0].startswith("error: ") and message in err[0]


@pytest.mark.parametrize("words", [each for each in WITH_PARAMETERS if each != ["checkpoints", "export"]], ids=" ".join)
@pytest.mark.parametrize(
    "pairs, message",
    [
        ("-p sedes 1", "unknown parameter 'sedes': did you mean 'seeds'?"),
        ("-p steps 2 -p steps 3", "parameter 'steps' is given twice: give each once"),
        ("-p steps many", "steps 'many' is not a whole number"),
    ],
)
def test_parameters_are_refused_before_any_work(run, no_model, words, pairs, message):
    more = {"finetune": ["--task", "Digits", "--training", "linear"]}.get(words[0], [])
    status, out, err = run(*words, *more, *pairs.split())
    assert (status, out, len(err)) == (2, [], 1) and err[0].startswith(f"error: {message}")


def test_values_may_start_with_a_hyphen(run):
    assert run("check", "-p", "xi_alphas", "-1,0,1", "-p", "seeds", "0,1") == (0, [], [])


def test_ways_out_are_told_in_the_same_line(run, monkeypatch):
    def refuse(parameters):
        error = InputError("300 points asked for, there are 200")
        error.add_note("give fewer with -p points")
        raise error

    monkeypatch.setattr("tangent_lib.cli.check.check_values", refuse)
    assert run("check") == (2, [], ["error: 300 points asked for, there are 200: give fewer with -p points"])


def test_an_interruption_is_no_fault(run, monkeypatch):
    def interrupt(parameters):
        raise KeyboardInterrupt

    monkeypatch.setattr("tangent_lib.cli.check.check_values", interrupt)
    status, out, err = run("check")
    assert (status, out, len(err)) == (130, [], 1) and "again" in err[0]


def test_an_error_of_ours_is_not_hidden(run, monkeypatch):
    monkeypatch.setattr("tangent_lib.cli.check.check_values", lambda parameters: {}["missing"])
    with pytest.raises(KeyError):
        run("check")


# -- check -------------------------------------------------------------------------------------------------------------
def test_check_asks_for_neither_data_nor_a_gpu(run):
    given = ("-p", "model", "ViT-B-32", "-p", "tasks", "Cars", "-p", "device", "cuda", "-p", "pretrained", "none")
    assert run("check", *given) == (0, [], [])


@pytest.mark.parametrize(
    "given, message",
    [
        ("model ViT-Mini-9", "unknown model 'ViT-Mini-9': did you mean"),
        ("pretrained captoins", "unknown pretrained 'captoins': did you mean 'captions'?"),
        ("tasks Sings", "unknown task 'Sings': did you mean 'Signs'?"),
    ],
)
def test_check_refuses_what_cannot_be_used(run, given, message):
    status, out, err = run("check", "-p", *given.split())
    assert (status, out, len(err)) == (2, [], 1) and message in err[0]


def test_check_tries_the_model_out(run, monkeypatch):
    """A model that can be built, and cannot be linearised, is refused here and not in the middle of the work."""
    asked = []
    monkeypatch.setattr("tangent_lib.models.clip.check_model", lambda name, pretrained: asked.append((name, pretrained)))
    assert run("check", "-p", "pretrained", "none")[0] == 0 and asked == [(PARAMETERS["model"], "none")]


# -- completion --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_the_commands(run, tmp_path, monkeypatch, shell):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ZSH", raising=False)
    monkeypatch.delenv("ZSH_CUSTOM", raising=False)
    script = tmp_path / "completion"
    status, out, err = run("--install-completion", "--shell", shell, "--output", script)
    text = script.read_text()
    assert (status, err) == (0, []) and str(script) in "".join(out)
    words = {*GROUPS, *ALONE, *(name for names in GROUPS.values() for name in names)}
    assert all(word in text for word in {*words, "--training", "--data-root", "--receipt", "tangent"})
    assert (tmp_path / f".{shell}rc").exists()


@pytest.mark.parametrize(
    "words, completed",
    [
        (["p"], {"pretrain"}),
        (["data", ""], set(GROUPS["data"])),
        (["pretrain", "--model", "ViT-Mini-L"], {"ViT-Mini-L-8"}),
        (["finetune", "--t"], {"--task", "--training"}),
    ],
    ids=["command", "command of a group", "value", "option"],
)
def test_bash_completes(words, completed):
    line = " ".join(f'"{word}"' for word in ["tangent", *words])
    ask = f'COMP_WORDS=({line}); COMP_CWORD={len(words)}; _tangent; printf "%s\\n" "${{COMPREPLY[@]}}"'
    script = app.generate_completion(shell="bash")
    shown = subprocess.run(["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True, check=True).stdout
    assert set(shown.split()) == completed


# -- gpus --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("between", [[], ["--"]], ids=str)
def test_a_command_keeps_its_options(between):
    command = [sys.executable, "-m", "tangent_lib.cli", "gpus", "1", *between, sys.executable, "-c"]
    shown = "import sys; print(sys.argv[1:])"
    options = ["-p", "count", "3", "--task", "a b", *(["--help", "--"] if between else [])]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    found = subprocess.run([*command, shown, *options], env=environment, capture_output=True, text=True)
    assert found.stdout == f"{options}\n" and found.returncode == 0, found.stderr


def test_a_command_that_is_not_there_is_named(run, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    message = "error: 'no-such-command' could not be started: No such file or directory"
    assert run("gpus", "1", "no-such-command") == (2, [], [message])


def test_main_takes_the_words_of_the_process(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tangent", "check", "-p", "seeds", "x"])
    assert cli.main() == 2 and "seeds 'x'" in capsys.readouterr().err


# -- where it prints to ------------------------------------------------------------------------------------------------
def test_a_reader_that_has_read_enough_ends_it_quietly():
    command = f"{sys.executable} -m tangent_lib.cli data list; echo $? >&2"
    with subprocess.Popen(
        command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == "141\n"


def test_letters_that_the_output_does_not_have_are_written_as_codes():
    command = [sys.executable, "-m", "tangent_lib.cli", "finetune", "--task", "\u732b", "--training", "linear"]
    given = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(command, capture_output=True, env=given, cwd=ROOT)
    assert done.returncode == 2 and rb"unknown task '\u732b'" in done.stderr
    printed = "import sys; from tangent_lib.cli import main; main(['data', 'list', 'Cars']); print(chr(0x732b))"
    done = subprocess.run([sys.executable, "-c", printed], capture_output=True, env=given, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == rb"\u732b"
