"""The workflow: which jobs there are, and that they run here, on SLURM and on Kubernetes, as far as one machine can show."""

import json
import os
import re
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import nbformat
import psutil
import pytest
from fake_kubernetes import Cluster

from tangent_lib.cli.workflow_config import PAGES
from tangent_lib.modes import PAPER, TRAININGS
from tangent_lib.runtime.disk import ROOT

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent
BOOK = "runs/workflow/book/ViT-Mini-8"
RECORD = "runs/workflow/records/ViT-B-32"
QUICK = "pages=-p steps 2 -p batch_size 8 -p tasks 'Digits, Signs' -p store {store} "  # quotes must reach the job as well


@pytest.fixture
def place(tmp_path):
    """A working directory that looks like the repository; the notebooks are stand-ins."""
    for name in ("workflow", "tangent_lib", "benchmarks", "_config.yml", "_toc.yml"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "book").mkdir()
    for path in (ROOT / "book").iterdir():
        if path.name != "executed":
            (tmp_path / "book" / path.name).symlink_to(path)
    (tmp_path / "notebooks").mkdir()
    for page in PAGES:
        (tmp_path / "notebooks" / f"{page}.ipynb").touch()
    return tmp_path


def start(place, profile, *arguments, **environment):
    command = [BIN / "snakemake", "--profile", f"workflow/profiles/{profile}", *map(str, arguments)]
    environment = {**os.environ, "XDG_CACHE_HOME": str(place / "cache"), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen(command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process):
    output = process.communicate()[0]
    return process.returncode, output


def jobs_of(output):
    """How many jobs of each rule a dry run lists."""
    table = output.partition("Job stats:")[2].partition("total")[0]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


def quick(store):
    return ["--config", QUICK.format(store=store), "threads=1"]


def mark(place, *names):
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).touch()


def test_both_papers_are_listed_job_by_job(place):
    code, output = finish(start(place, "local", "-n", "-p", "--configfile", "workflow/both-papers.yaml"))
    assert code == 0
    listed = re.findall(r"(\S+) fine-tuning of (\S+), (\w+), seed (\d)", output)
    models = ("ViT-B-32", "ViT-B-16", "ViT-L-14")
    both = {each for each in listed if each[1] in models}
    assert both == set(product(TRAININGS, models, PAPER.tasks, "01234")) and len(both) == 960
    command = r"gpus 1 \S+ -m tangent_lib.cli finetune --task (\w+) --training (\S+) -p model (\S+) -p seeds (\d)"
    commands = re.findall(command, output)
    assert sorted((training, model, task, seed) for task, training, model, seed in commands) == sorted(both)
    found = jobs_of(output)
    assert found["finetune"] == len(listed) == 960 + 2 and found["prepare"] == 9 and found["record"] == 3
    assert found["evaluate"] == 3 * (8 * 5 + 1) and found["page"] == len(PAGES) and found["book"] == found["gallery"] == 1


def test_the_book_alone_and_with_the_other_miniatures(place):
    code, output = finish(start(place, "local", "-n"))
    pages = {"parameters": 1, "finetune": 2, "page": len(PAGES), "gallery": 1, "book": 1, "report": 1}
    assert code == 0 and jobs_of(output) == pages
    code, output = finish(start(place, "local", "-n", "--configfile", "workflow/miniatures.yaml"))
    assert code == 0
    assert jobs_of(output) == {**pages, "parameters": 3, "finetune": 2 + 2 * 16, "evaluate": 2 * 3, "record": 2}


def test_several_gpus_of_a_cluster_train_together(place):
    several = ("--config", "gpus_per_job=4", "records={'ViT-B-32': {}}", "--", f"{RECORD}/linear/Cars-3.json")
    code, output = finish(start(place, "local", "-n", "-p", "--mode", "remote", *several))  # as the job itself sees it
    command = "accelerate.commands.launch --multi_gpu .*processes 4 .* finetune --task Cars --training linear"
    assert code == 0 and re.search(command, output)
    assert "cli gpus" not in output  # the scheduler has chosen the GPUs


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


def test_four_fine_tunings_two_at_a_time_one_is_killed_and_tried_again(place, store):
    receipts = [f"{BOOK}/{training}/{task}-0.json" for training in ("linear", "non-linear") for task in ("Digits", "Signs")]
    process = start(place, "local", "--cores", 2, *quick(store), "--", *receipts)
    at_once, killed = 0, None
    while process.poll() is None and at_once < 2:
        words = ["-m", "tangent_lib.cli", "finetune"]
        running = [each for each in descendants(process) if each.info["cmdline"][1:4] == words]
        pythons = {tuple(each.info["cmdline"]) for each in running}
        at_once = max(at_once, len(pythons))
        if running and killed is None:
            killed = running[0].info["cmdline"]
            running[0].kill()
        time.sleep(0.05)
    code, output = finish(process)
    assert code == 0 and at_once == 2 and output.count("Trying to restart job") == 1, output
    assert all(json.loads((place / receipt).read_text())[0]["computed"] for receipt in receipts)
    code, output = finish(start(place, "local", "--cores", 2, *quick(store), "--", *receipts))
    assert code == 0 and "Nothing to be done" in output


def descendants(process):
    found = []
    for each in psutil.Process(process.pid).children(recursive=True):
        try:
            each.info = each.as_dict(["cmdline"])
            found.append(each)
        except psutil.NoSuchProcess:
            pass
    return [each for each in found if each.info["cmdline"]]


def write_notebook(place, source):
    first = nbformat.v4.new_code_cell('seeds: str = "0"', metadata={"tags": ["parameters"]})
    cells = [first, nbformat.v4.new_code_cell(source)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), place / "notebooks" / "01_miniature.ipynb")


def test_a_failing_page_leaves_none_and_a_finished_one_is_kept(place):
    page = place / "book" / "executed" / "01_miniature.ipynb"
    options = ("--cores", 2, "--retries", 0, "--config", "threads=1")
    run = lambda *more: finish(start(place, "local", *options, *more, "--", page.relative_to(place)))
    mark(place, f"{BOOK}/parameters")
    write_notebook(place, "raise RuntimeError(seeds)")
    code, output = run()
    assert code != 0 and "RuntimeError: 0" in output and not page.exists()
    write_notebook(place, "print('seeds', seeds)")
    assert run()[0] == 0 and "seeds 0" in page.read_text()
    assert jobs_of(run("pages=-p seeds 1 ", "-n")[1])["page"] == 1 and "Nothing to be done" in run()[1]


def test_slurm_submits_follows_and_tries_again(place, store, tmp_path):
    commands, ended = tmp_path / "slurm", tmp_path / "slurm" / "jobs"
    ended.mkdir(parents=True)
    for name in ("sbatch", "sacct", "srun", "sinfo"):
        (commands / name).write_text(f"#!{sys.executable}\n{(ROOT / 'tests' / 'cli' / 'fake_slurm.py').read_text()}")
        (commands / name).chmod(0o755)
    (ended / "out-of-memory").write_text("Digits")
    receipt, of_gpu = f"{BOOK}/linear/Digits-0.json", f"{RECORD}/linear/Cars-0.json"
    mark(place, f"{BOOK}/parameters", f"{RECORD}/parameters", "runs/workflow/data/Cars")
    soon = ("--slurm-init-seconds-before-status-checks", 1, "--seconds-between-status-checks", 1, "--retries", 1)
    options = (*soon, *quick(store), "records={'ViT-B-32': {}}", "gpus_per_job=2", "--", receipt, of_gpu)
    code, output = finish(start(place, "slurm", *options, PATH=f"{commands}:{os.environ['PATH']}"))
    assert code == 1 and (place / receipt).exists() and not (place / of_gpu).exists(), output
    found = [json.loads(path.read_text()) for path in sorted(ended.glob("*.json"))]
    asked = lambda job, option: job["arguments"][job["arguments"].index(option) + 1]
    small, real = ([job for job in found if task in asked(job, "--comment")] for task in ("Digits", "Cars"))
    assert [job["state"] for job in small] == ["OUT_OF_MEMORY", "COMPLETED"]
    assert [asked(job, "--mem") for job in small] == ["3000", "6000"]
    assert [("--gpus=2" in job["arguments"], asked(job, "--mem"), asked(job, "-t")) for job in real] == [
        (True, "32000", "480"),
        (True, "64000", "960"),
    ]


def test_kubernetes_submits_follows_and_hands_files_over(place, store, tmp_path):
    commands = tmp_path / "commands"
    commands.mkdir()
    for name, script in {"pip": "", "rsync": 'while [ "${1#-}" != "$1" ]; do shift; done; exec cp -p "$1" "$2"'}.items():
        (commands / name).write_text(f"#!/bin/sh\n{script}\n")
        (commands / name).chmod(0o755)
    receipt, of_gpu = f"{BOOK}/linear/Digits-0.json", f"{RECORD}/linear/Cars-0.json"
    mark(place, f"{BOOK}/parameters", f"{RECORD}/parameters", "runs/workflow/data/Cars")
    path = f"{commands}:{BIN}:{os.environ['PATH']}"
    shared = ("--default-storage-prefix", place, "--kubernetes-persistent-volumes", f"task-arithmetic:{place}")
    library = ("--precommand", f"export PYTHONPATH={ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    options = (*shared, *library, "--seconds-between-status-checks", 1, "--retries", 0, *quick(store))
    with Cluster({**os.environ, "PATH": path, "XDG_CACHE_HOME": str(tmp_path / "cache")}) as cluster:
        (tmp_path / "kubeconfig").write_text(json.dumps(kubeconfig(cluster.url)))
        environment = {"PATH": path, "KUBECONFIG": str(tmp_path / "kubeconfig")}
        targets = ("records={'ViT-B-32': {}}", "--", receipt, of_gpu)
        code, output = finish(start(place, "kubernetes", *options, *targets, **environment))
    assert code == 1 and (place / receipt).exists() and not (place / of_gpu).exists(), (output, cluster.logs)
    containers = [job["spec"]["template"]["spec"]["containers"][0] for job in cluster.jobs.values()]
    limits = {re.search(r"task=(\w+)", each["args"][1])[1]: each["resources"]["limits"] for each in containers}
    assert "nvidia.com/gpu" not in limits["Digits"] and limits["Cars"]["nvidia.com/gpu"] == "1"
    assert limits["Digits"]["memory"] == "3000M" and limits["Cars"]["memory"] == "32000M"
    assert not cluster.secrets


def kubeconfig(url):
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": url}}],
        "users": [{"name": "me", "user": {}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
    }
