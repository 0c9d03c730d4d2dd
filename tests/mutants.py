"""Wrong programs that the tests must notice: ``make mutants``. Each differs from the library in one place.

A mutant is applied to a copy of the checkout, and the tests named for it run there; it survives where they pass. What is
replaced has to stand in the file exactly once, so that a list that no longer fits is an error and not a success.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("tangent_lib", "tests", "book", "notebooks", "data_manifests", "pyproject.toml", "README.md", "benchmarks")


@dataclass(frozen=True)
class Mutant:
    """``old`` in a file of ``tangent_lib`` becomes ``new``; ``tests`` are files of ``tests``, and options of pytest."""

    file: str
    old: str
    new: str
    tests: str


EDITING, EVALUATION, XI = "test_editing.py", "test_evaluation.py", "test_disentanglement.py"
KERNELS, TRAINING, RUNS = "test_kernels.py", "test_finetuning.py", "test_experiment.py"
ANALYSES, LEDGER, MODES = "test_experiment_analyses.py", "report/test_ledger.py", "test_modes.py"

MUTANTS = (
    # verdicts
    Mutant("report/ledger.py", "return p, NOT\n    return p, REPRODUCED",
           "return 1 - p, NOT\n    return p, REPRODUCED", LEDGER),
    Mutant("report/ledger.py", "LEVEL, LEAST = 0.05, 5", "LEVEL, LEAST = 0.10, 5", LEDGER),
    Mutant("report/ledger.py", "LEVEL, LEAST = 0.05, 5", "LEVEL, LEAST = 0.05, 4", LEDGER),
    Mutant("report/ledger.py", 'alternative="greater"', 'alternative="two-sided"', LEDGER),
    Mutant("report/ledger.py", "if mean <= 0:", "if mean < -1:", LEDGER),
    Mutant("report/ledger.py", "if UNTESTED in verdicts:", "if verdicts == {UNTESTED}:", LEDGER),
    Mutant("report/claim_measures.py", "greater, quantity) - value(", "greater, quantity) + value(", LEDGER),
    Mutant("report/quantities.py", "values.std(ddof=1)", "values.std(ddof=0)", "report/test_quantities.py"),
    # modes and trainings
    Mutant("modes.py", '"attention post-hoc", TRAININGS["attention-only"], True',
           '"attention post-hoc", TRAININGS["attention-only"], False', MODES),
    Mutant("modes.py", '"attention-only", TRAININGS["attention-only"], False',
           '"attention-only", TRAININGS["attention-only"], True', MODES),
    Mutant("modes.py", 'Mode("post-hoc", TRAININGS["non-linear"], True)',
           'Mode("post-hoc", TRAININGS["linear"], True)', MODES),
    Mutant("modes.py", 'Training("random-linear", linearized=True', 'Training("random-linear", linearized=False', MODES),
    Mutant("modes.py", "CONTROL_SHARE = 0.95", "CONTROL_SHARE = 0.90", EDITING),
    # task vectors
    Mutant("task_vectors.py", "{name: left[name] - right[name]", "{name: right[name] - left[name]", "test_task_vectors.py"),
    Mutant("task_vectors.py", "theta_0[name] + alpha * tau[name]", "theta_0[name] + tau[name]", "test_task_vectors.py"),
    Mutant("task_vectors.py", "return scale(tau, -1.0)", "return scale(tau, 1.0)", "test_task_vectors.py"),
    # editing
    Mutant("editing.py", 'val, {name: single[name].val for', 'val, {name: single[name].test for', EDITING),
    Mutant("editing.py", 'test, {name: single[name].test for', 'test, {name: single[name].val for', EDITING),
    Mutant("editing.py", '"test", (alpha,))[0] for name in names}', '"val", (alpha,))[0] for name in names}', EDITING),
    Mutant("editing.py", "minus = {name: negate(taus[name])", "minus = {name: (taus[name])", EDITING),
    Mutant("editing.py", "control_val[i] >= CONTROL_SHARE", "control_val[i] > CONTROL_SHARE", EDITING),
    Mutant("editing.py", "min(allowed, key=lambda i: (target_val[i], i))",
           "max(allowed, key=lambda i: (target_val[i], i))", EDITING),
    Mutant("editing.py", "np.argmax(np.round(scores, 12))", "np.argmin(np.round(scores, 12))", EDITING),
    # evaluation
    Mutant("evaluation.py", "torch.nn.functional.normalize(features.to(head.dtype), dim=-1) @",
           "features.to(head.dtype) @", EVALUATION),
    Mutant("evaluation.py", "[f(theta, parts[i]).clone()", "[f(theta, parts[i])", EVALUATION),
    Mutant("evaluation.py", "zip(alphas, before)", "zip(alphas, alphas)", EVALUATION),
    # the disentanglement error
    Mutant("disentanglement.py", "count(x) / len(data[t])", "1 / len(parts)", XI),
    Mutant("disentanglement.py", "return 0.5 * ((log_p", "return 1.0 * ((log_p", XI),
    Mutant("disentanglement.py", "value if s == t else 0.0", "value", XI),
    Mutant("disentanglement.py", "settings = list(product(alphas, alphas))",
           "settings = [(b, a) for a, b in product(alphas, alphas)]", XI),
    # the linearisation and the kernel
    Mutant("linearization.py", "subtract(params, theta_0), x), x)",
           "subtract(theta_0, params), x), x)", "test_linearization.py"),
    Mutant("linearization.py", "params[name].detach(), theta_0[name])",
           "theta_0[name], params[name].detach())", "test_linearization.py"),
    Mutant("kernels.py", "values[0] * max(kernel.shape)", "values[0] * 0 * max(kernel.shape)", KERNELS),
    Mutant("kernels.py", "(energy[:trained].sum() /", "(energy[trained:].sum() /", KERNELS),
    Mutant("kernels.py", "local_energy(kernel, leading)[n:]", "local_energy(kernel, leading)[:2 * n]", KERNELS),
    Mutant("kernels.py", "band.append(bands[j][i].mT)", "band.append(bands[j][i])", KERNELS),
    Mutant("ring.py", "svdvals(modes[outside])[-1].item() ** 2", "svdvals(modes[outside])[-1].item()", "test_ring.py"),
    # fine-tuning
    Mutant("modes.py", "(step + 1) / warmup", "step / warmup", TRAINING),
    Mutant("modes.py", "0.5 * (1 + math.cos(", "0.5 * (1 - math.cos(", TRAINING),
    Mutant("finetuning.py", "clip_grad_norm_(weights, protocol.clip_norm)", "clip_grad_norm_(weights, 1e9)", TRAINING),
    Mutant("finetuning.py", "weight_decay=protocol.weight_decay", "weight_decay=0.0", TRAINING),
    Mutant("finetuning.py", "model = linearize(f, theta_0) if linearized else pure(f)", "model = f", TRAINING),
    # experiments
    Mutant("experiment.py", '.split("train"), points, seed)', '.split("test"), points, seed)', ANALYSES),
    Mutant("experiment.py", 'materials.task(name).split("test") for name in pair',
           'materials.task(name).split("train") for name in pair', ANALYSES),
    Mutant("experiment.py", 'Accuracies(of("val"), of("test"))', 'Accuracies(of("test"), of("val"))', RUNS),
    Mutant("experiment.py", 'data, way.linearized)', 'data, False)', ANALYSES),
    Mutant("experiment.py", '{"linearized": way.linearized, "zero_shot"', '{"linearized": False, "zero_shot"', RUNS),
    # data
    Mutant("miniature/tasks.py", "drawn_images(task, split, count)",
           'drawn_images(task, "train", count)', "miniature/test_tasks.py"),
    Mutant("miniature/tasks.py", "drawn_images(task, split, count)",
           'drawn_images(task, split.replace("test", "val"), count)', "miniature/test_tasks.py"),
    Mutant("miniature/tasks.py", '"val": order[1000:1500]', '"val": order[900:1400]', "miniature/test_tasks.py"),
)  # fmt: skip


def copy_to(folder: Path) -> None:
    """What the tests need of this checkout, without what it has computed."""
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "executed"))
        else:
            shutil.copy(ROOT / name, folder / name)


def survives(mutant: Mutant, folder: Path) -> bool:
    """Do the tests pass on it? The copy is as before afterwards."""
    path = folder / "tangent_lib" / mutant.file
    before = path.read_text()
    if before.count(mutant.old) != 1:
        raise SystemExit(f"{mutant.file} has {before.count(mutant.old)} places with {mutant.old!r}: mend the list")
    path.write_text(before.replace(mutant.old, mutant.new))
    tests = [each if each.startswith("-") else os.path.normpath(f"tests/{each}") for each in mutant.tests.split()]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", *tests]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False).returncode == 0
    finally:
        path.write_text(before)


def main(*only: str) -> int:
    """Run the mutants of some files, by default of all; the exit status is 1 where one survives."""
    start, chosen = time.perf_counter(), [each for each in MUTANTS if not only or each.file in only]
    alive = 0
    with tempfile.TemporaryDirectory() as folder:
        copy_to(Path(folder))
        for number, mutant in enumerate(chosen, start=1):
            lives = survives(mutant, Path(folder))
            alive += lives
            said = "SURVIVED" if lives else "noticed"
            print(f"{number:>3} of {len(chosen)}  {said:<8}  {mutant.file}: {mutant.old!r} -> {mutant.new!r}", flush=True)
    print(f"{len(chosen)} mutants: {len(chosen) - alive} noticed, {alive} survived, {time.perf_counter() - start:.0f} s")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
