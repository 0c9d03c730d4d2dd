"""The work of both papers against the code that does it, counted with models of one matrix."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from tangent_lib._fast import kernel
from tangent_lib.cost import both_papers
from tangent_lib.cost.both_papers import PAPERS, kind_of, split_sizes, work
from tangent_lib.cost.counted_steps import StepCount
from tangent_lib.data.manifests import load_manifest
from tangent_lib.data.tasks import ImageArray
from tangent_lib.disentanglement import xi_at
from tangent_lib.evaluation import accuracies
from tangent_lib.experiment import Experiment
from tangent_lib.finetuning import Protocol
from tangent_lib.modes import ALPHAS, PAPER, TRAININGS
from tangent_lib.runtime.errors import InputError

KINDS = set(map(kind_of, TRAININGS))
TASKS, KEPT = 8, ("tensors", "values")


def counts(operations=0, forward=0, parameters=10**6):
    """Steps of which only what is asked for costs anything."""
    return {kind: StepCount(operations, forward, 0, 0, 0, parameters, 0) for kind in KINDS}


@pytest.fixture
def counted():
    """A tiny model that counts the images that pass through it: data, f, theta_0, tau, passes."""
    passes = Counter()

    def f(params, x):
        passes["images"] += len(x)
        return x.flatten(1) @ params["w"].T

    data = ImageArray(torch.zeros(7, 3, 2, 2, dtype=torch.uint8), torch.zeros(7, dtype=torch.long), (0.5,) * 3, (0.5,) * 3, 2)
    return data, f, {"w": torch.ones(3, 12)}, {"w": torch.ones(3, 12)}, passes


@pytest.mark.parametrize("linear", [False, True])
def test_a_sweep_over_alpha_takes_as_many_passes(counted, linear):
    data, f, theta_0, tau, passes = counted
    accuracies(f, theta_0, [tau], [[alpha] for alpha in ALPHAS[1:]], torch.eye(3), data, linear)
    assert passes["images"] == both_papers._sweep(linear) * len(data)


@pytest.mark.parametrize("linear", [False, True])
def test_a_grid_of_xi_takes_as_many_passes(counted, linear, monkeypatch):
    data, f, theta_0, tau, passes = counted
    settings = [(a, b) for a in (-1.0, 0.5, 2.0) for b in (-1.0, 0.5, 2.0)]
    xi_at(f, theta_0, [tau, tau], settings, [torch.eye(3)] * 2, [data, data], linear)
    monkeypatch.setattr(both_papers, "PAPER", replace(PAPER, pairs=(("MNIST", "SVHN"),), points=len(data)))
    assert passes["images"] == both_papers._grids(counts(forward=1), linear, values=3)


def test_a_kernel_takes_as_many_passes(monkeypatch):
    taken, side, cotangents = Counter(), kernel._side, kernel._Side.cotangents

    def forward(f, params, names, rest, x):
        taken["forward"] += len(x)
        return side(f, params, names, rest, x)

    def backward(side, output):
        taken["backward"] += len(side.outputs)
        return cotangents(side, output)

    monkeypatch.setattr(kernel, "_side", forward)
    monkeypatch.setattr(kernel._Side, "cotangents", backward)
    monkeypatch.setattr(kernel, "_points_at_a_time", lambda *given: 4)  # two of either side
    monkeypatch.setitem(both_papers.NUMBERS_HELD, "cuda", 8)  # as many: a number in the graph and one beside it for each
    x, f = torch.randn(16, 12), lambda params, x: torch.nn.functional.linear(x, params["w"])
    kernel.kernel_of_outputs(f, {"w": torch.ones(3, 12)}, x[:6], x[6:], memory=2**28)
    step = lambda operations, forward: StepCount(operations, forward, 0, 0, image_bytes=4, parameters=0, trainable=0)
    assert taken["forward"] == both_papers._kernel(step(1, 1), 6, 10, 3)
    assert taken["backward"] == both_papers._kernel(step(2, 0), 6, 10, 3)
    assert both_papers._kernel(StepCount(0, 0, 0, 0, 4, 5, 0), 6, 10, 3) == 2 * 3 * 6 * 10 * 5


def test_the_kernels_of_a_pair_are_those_that_the_page_asks_for(monkeypatch):
    asked, task = [], SimpleNamespace(classes=list("abcdefghijkl"))

    def kernels(run, task, outputs, x, trained):
        asked.append((trained, len(x), outputs))
        return torch.ones(outputs, trained, len(x))

    monkeypatch.setattr(Experiment, "_support", lambda run, name, points, seed: torch.zeros(points, 1))
    monkeypatch.setattr(Experiment, "_kernels", kernels)
    store = SimpleNamespace(fetch=lambda kind, config, compute: SimpleNamespace(**dict(zip(KEPT, compute()))))
    identity = lambda *names: {}
    run = Experiment(SimpleNamespace(task=lambda name: task, identity=identity, store=store, parameters=None))
    for _ in ("pre-trained", "random"):
        run.local_energy("a task", "a control", classes=3)
        run.kernel_on_supports("a task", "a control")
    assert sorted(asked) == sorted(PAPERS["tangent-space"].kernels) and not PAPERS["attention-only"].kernels


def test_the_kernels_of_all_pairs_are_counted():
    found = work(counts(operations=2, parameters=0), PAPERS, Protocol())["NTK"]
    assert found == len(PAPER.pairs) * 2 * (3 * (200 + 400) + (200 + 600))
    assert work(counts(forward=1, parameters=0), PAPERS, Protocol())["NTK"] < found


def test_fine_tuning_is_every_task_and_step():
    found = work(counts(operations=1), PAPERS, Protocol(steps=10, batch_size=4))
    tuning = {part: each for part, each in found.items() if part.startswith("fine-tuning")}
    assert set(tuning) == {f"fine-tuning, {training}" for training in TRAININGS}
    assert set(tuning.values()) == {10 * 4 * TASKS}


def test_zero_shot_is_every_image_of_validation_and_test_once():
    test = {"Cars": 8041, "DTD": 1880, "EuroSAT": 2700, "GTSRB": 12630, "MNIST": 10000, "RESISC45": 6300}
    test |= {"SUN397": 19850, "SVHN": 26032, "ImageNet": 50000}
    val = (814, 376, 2160, 2664, 5000, 1890, 1985, 5000, 5000)  # a tenth of train, at most 5,000
    found = work(counts(forward=1), ["attention-only"], Protocol())
    assert found["zero-shot"] == sum(test.values()) + sum(val)


def test_negation_is_tested_on_the_control_for_every_task():
    found = work(counts(forward=1), ["tangent-space"], Protocol())["negation"]
    modes = 3  # non-linear, post-hoc, linear
    assert found > modes * TASKS * 50000
    assert work(counts(forward=1), ["attention-only"], Protocol())["negation"] == found


def test_what_two_papers_share_is_counted_once():
    one, other, both = (
        work(counts(operations=1), names, Protocol()) for names in (["tangent-space"], ["attention-only"], list(PAPERS))
    )
    assert set(both) == set(one) | set(other)
    assert both["fine-tuning, linear"] == one["fine-tuning, linear"] == other["fine-tuning, linear"]
    assert both["NTK"] == one["NTK"] > other["NTK"] == 0


def test_larger_models_hold_fewer_points_at_a_time():
    step = lambda image_bytes: StepCount(2, 0, 0, 0, image_bytes, parameters=0, trainable=0)
    assert both_papers._kernel(step(4), 200, 400, 3) == 3 * 600
    assert both_papers._kernel(step(10**9), 200, 400, 3) > 50 * 3 * 600


def test_splits_follow_the_rule_of_preparation():
    assert split_sizes("MNIST") == (5000, 10000) and split_sizes("DTD") == (376, 1880)


def test_a_manifest_without_sizes_is_refused(monkeypatch):
    monkeypatch.setattr(both_papers, "load_manifest", lambda name: load_manifest(name).model_copy(update={"sizes": None}))
    with pytest.raises(InputError, match="the manifest of Cars states no sizes"):
        split_sizes("Cars")


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="did you mean 'tangent-space'"):
        work(counts(), ["tangent"], Protocol())
    with pytest.raises(InputError, match="did you mean 'linear'"):
        kind_of("lineer")
