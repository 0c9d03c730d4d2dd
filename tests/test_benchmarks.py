"""The benchmarks at sizes that say nothing: what they write, how it hangs together, and what they refuse."""

from __future__ import annotations

import doctest
import importlib
import io
import json
import subprocess
import sys
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from statistics import median

import pytest
import torch

from tangent_lib.cost import counted_steps as step_counts
from tangent_lib.runtime import operations

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
SMALL = {
    "linear_step": ["--batch-size", "3", "--pairs", "2"],
    "alpha_sweep": ["--alphas", "3", "--images", "5", "--batch-size", "3", "--tasks", "2", "--pairs", "2"],
    "xi_grid": ["--grid", "2", "--points", "4", "--batch-size", "3", "--cells", "1", "--nonlinear", "--pairs", "2"],
    "ntk": ["--points", "5", "--outputs", "2", "--pairs", "2"],
}
KEYS = "benchmark model pretrained device precision threads sizes pairs ratios distance operations floor note provenance"


@pytest.fixture(scope="module")
def script():
    """A module of the folder, by name, found as Python finds it when a script is run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield importlib.import_module


@pytest.fixture(scope="module")
def report(script, tmp_path_factory):
    """The JSON object of a benchmark at its small size, with further options; and what was printed."""

    @cache
    def run(name: str, *options: str) -> tuple[dict, str]:
        path, printed = tmp_path_factory.mktemp(name) / "report.json", io.StringIO()
        with redirect_stdout(printed):
            assert script(name).main([*SMALL[name], "--json", str(path), *options]) == 0
        return json.loads(path.read_text()), printed.getvalue()

    return run


@pytest.mark.parametrize("name", SMALL)
def test_a_report_is_complete_and_its_ratios_are_those_of_the_pairs(report, name):
    found, shown = report(name)
    assert list(found) == KEYS.split() and found["benchmark"] == name and found["model"] == "ViT-Mini-8"
    assert {"commit", "date", "machine", "torch"} <= found["provenance"].keys()
    assert found["threads"] == torch.get_num_threads() and len(found["pairs"]) == 2
    assert found["operations"].keys() == found["pairs"][0].keys() and all(line in shown for line in found["note"])
    for ratio, measured in found["ratios"].items():
        above, below = ratio.split(" / ")
        for kind, what in {"time": "seconds", "memory": "peak_bytes"}.items():
            each = [pair[above][what] / pair[below][what] for pair in found["pairs"]]
            assert measured[kind] == {"median": median(each), "lowest": min(each), "highest": max(each)}
        assert ratio in shown and f"{measured['time']['median']:.2f}" in shown
    assert found["floor"].keys() == {side for side in found["operations"] if not side.startswith("naive")}
    for side, measured in found["floor"].items():
        each = [pair[side]["seconds"] / pair[side]["products_seconds"] for pair in found["pairs"]]
        assert measured == {"median": median(each), "lowest": min(each), "highest": max(each)}
        assert f"{side} / its products alone" in shown


@pytest.mark.parametrize("name, option", [(name, ()) for name in SMALL] + [("linear_step", ("--plain-products",))])
def test_the_sides_compute_the_same(report, name, option):
    found, _ = report(name, *option)
    assert found["sizes"]["plain_products"] == bool(option)
    for what, gap in found["distance"].items():
        assert gap < (1e-13 if "float64" in what else 1e-5), what
    assert any("float64" in what for what in found["distance"]) or name == "xi_grid"


def test_a_step_needs_the_operations_that_the_library_counts_from_shapes(report):
    found, _ = report("linear_step", "--precision", "bf16")
    tower = step_counts.shapes_only("ViT-Mini-8")
    f, f_lin = (step_counts.count_step(tower, linear=linear).operations for linear in (False, True))
    assert found["operations"]["fast"] / found["operations"]["non-linear"] == pytest.approx(f_lin / f, rel=0.01)
    assert found["precision"] == "bf16" and found["distance"]["gradient, bf16"] < 0.1


def test_a_step_holds_weights_gradients_and_moments_and_f_lin_theta_0_besides(report):
    found, _ = report("linear_step")
    weights = 4 * found["sizes"]["parameters"]
    peaks = {side: measured["peak_bytes"] for side, measured in found["pairs"][0].items()}
    assert peaks["non-linear"] > 4 * weights and min(peaks["fast"], peaks["naive"]) > 5 * weights


def test_operations_are_those_of_the_whole_where_only_a_part_is_timed(report):
    found, _ = report("xi_grid")
    assert found["sizes"]["cells"] == 1 and "1 of 4 cells" in "".join(found["note"])
    ratio = lambda above, below: found["operations"][above] / found["operations"][below]
    # naive: in each of 4 cells, 2 tasks alone and 2 together. fast: 2 tasks alone at 2 values, and 2 together in 4 cells
    assert ratio("naive non-linear", "fast non-linear") == pytest.approx(16 / 12, rel=1e-3)
    # naive: value and two products for the tangent, a product each. fast: of each task once the value and two tangents
    assert ratio("naive", "fast") == pytest.approx(16 * 3 / (2 * 5), rel=0.02)


@pytest.mark.parametrize("jacobian, points", [(10**9, 5), (10_000_000, 2), (1, 1)])
def test_the_naive_kernel_keeps_to_its_memory(report, jacobian, points):
    found, _ = report("ntk", "--jacobian", str(jacobian))
    expected = min(5, max(1, jacobian // (2 * 2 * found["sizes"]["parameters"])))
    assert found["sizes"]["naive_points_at_once"] == expected == points
    assert max(found["distance"].values()) < 1e-5


def test_peak_memory_is_what_was_held_at_one_time(script):
    cpu, measures = torch.device("cpu"), script("measures")

    def run() -> None:
        first = torch.empty(1000)
        second = torch.empty(500)
        del first
        third = torch.empty(200)
        del second, third

    assert [measures.peak_bytes(run, cpu) for _ in range(2)] == [6000, 6000]


def test_products_are_counted_through_either_library(script):
    layer, x = torch.nn.Linear(4, 5), torch.ones(3, 4, requires_grad=True)
    attended = torch.nn.functional.scaled_dot_product_attention
    q = torch.ones(1, 2, 6, 8)
    counted = {
        2 * (2 * 3 * 4 * 5) * 1.5: lambda: layer(x).sum().backward(),  # forward, and both gradients
        2 * 3 * 4 * 5: lambda: operations.linear(x.detach(), layer.weight.detach()),  # by oneDNN
        2 * 3 * 4 * 6: lambda: operations.add_linear(torch.ones(3, 6), x.detach(), torch.ones(6, 4)),
        2 * (2 * 2 * 6 * 6 * 8): lambda: attended(q, q, q),  # fused
        2 * 3 * 4: lambda: x.detach() @ torch.ones(4),
    }
    for wanted, run in counted.items():
        assert script("measures").products(run).operations == wanted
        with operations.plain_products():
            assert script("measures").products(run).operations == wanted


def test_a_product_that_nobody_counts_is_an_error(script, monkeypatch):
    monkeypatch.delitem(script("measures").flop_registry, torch.ops.aten.mm)
    with pytest.raises(NotImplementedError, match=r"aten.mm is a product whose operations are not counted"):
        script("measures").products(lambda: torch.ones(2, 3) @ torch.ones(3, 4))


def test_the_same_products_are_done_again(script):
    measures = script("measures")

    def run() -> None:
        layer = torch.nn.Conv2d(3, 4, 3, padding=1)
        layer(torch.ones(2, 3, 8, 8)).relu().flatten(1).mT.matmul(torch.ones(2, 5)).square().sum().backward()

    found = measures.products(run)
    again = measures.products(found.again())
    assert found.operations == again.operations > 0 and found.calls == again.calls


def test_sides_take_turns(script):
    order = []
    sides = {name: script("measures").Side(lambda name=name: order.append(name)) for name in "abc"}
    script("measures").take_turns(sides, 3, torch.device("cpu"))
    assert "".join(order[-9:]) == "abcbcacab"


@pytest.mark.parametrize("name", ["measures", "pairs"])
def test_the_examples_run(script, name):
    outcome = doctest.testmod(script(name))
    assert outcome.attempted and not outcome.failed


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("linear_step", ["--model", "ViT-Mini-9"], "unknown model 'ViT-Mini-9': did you mean 'ViT-Mini-8'?"),
        ("linear_step", ["--pretrained", "openia"], "unknown pretrained 'openia'"),
        ("linear_step", ["--precision", "fp16"], "argument --precision: invalid choice: 'fp16'"),
        ("linear_step", ["--pairs", "0"], "argument --pairs: '0' is not a whole number from 1 on"),
        ("alpha_sweep", ["--alpha", "3"], "unrecognized arguments: --alpha 3"),
        ("alpha_sweep", ["--images", "few"], "'few' is not a whole number"),
        ("xi_grid", ["--grid", "3", "--cells", "10"], "--cells 10: a grid of 3 values has 9"),
        ("xi_grid", ["--json", "/nowhere/xi.json"], "--json '/nowhere/xi.json': name a file in a folder that exists"),
        ("ntk", ["--device", "gpu"], "argument --device: invalid choice: 'gpu'"),
        ("ntk", ["--outputs"], "argument --outputs: expected one argument"),
    ],
)
def test_errors_are_one_line_and_come_before_any_work(script, name, options, message, capsys, no_model):
    assert script(name).main(options) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


def test_a_gpu_that_is_not_there_is_refused(script, monkeypatch, capsys, no_model):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert script("ntk").main(["--device", "cuda"]) == 2
    assert capsys.readouterr().err == "error: device 'cuda': PyTorch finds no GPU here; give --device cpu\n"


def test_scripts_are_commands():
    ran = subprocess.run([sys.executable, FOLDER / "ntk.py", "--points", "-1"], capture_output=True, text=True)
    assert ran.returncode == 2 and ran.stderr == "error: argument --points: '-1' is not a whole number from 1 on\n"
