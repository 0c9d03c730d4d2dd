"""One pass over all alphas against one evaluation an alpha."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from tangent_lib.evaluation import EVAL_BATCH, accuracies, classify, evaluate, predict
from tangent_lib.linearization import linearize
from tangent_lib.models.clip import zero_shot_head
from tangent_lib.runtime.errors import InputError
from tangent_lib.task_vectors import apply, scale, total

ALPHAS = (0.0, 0.05, 0.3, 0.55, 1.0)


def accuracies_along(f, theta_0, tau, alphas, head, data, linearized):
    return accuracies(f, theta_0, [tau], [[alpha] for alpha in alphas], head, data, linearized)


def f(params, x):
    return torch.tanh(x @ params["w"]) @ params["v"]


@pytest.fixture
def toy(rng):
    """Weights, two task vectors, a head and enough points for several batches, the last one not full."""
    draw = lambda *shape: torch.randn(*shape, generator=rng, dtype=torch.float64)
    theta_0, tau, sigma = ({"w": draw(4, 6), "v": draw(6, 5)} for _ in range(3))
    labels = torch.randint(3, (4 * EVAL_BATCH + 101,), generator=rng)
    return theta_0, tau, sigma, draw(3, 5), TensorDataset(draw(len(labels), 4), labels)


def test_accuracy_is_the_share_of_right_labels():
    data = TensorDataset(torch.eye(3).repeat(200, 1), torch.tensor([0, 1, 0]).repeat(200))
    assert evaluate(lambda params, x: x + params["w"], {"w": torch.zeros(3)}, torch.eye(3), data) == 400 / 600
    assert evaluate(lambda params, x: x + params["w"], {"w": 3 * torch.eye(3)[1]}, torch.eye(3), data) == 200 / 600


def test_a_zero_shot_head_reads_features_of_length_1_and_another_readout_those_that_are_there():
    features, head = torch.tensor([[3.0, 4.0], [0.3, 0.4]]), torch.tensor([[10.0, 0.0], [0.0, 10.0]])
    assert torch.allclose(classify(features, head), torch.tensor([[6.0, 8.0]] * 2))
    assert torch.equal(classify(features, lambda z: 2 * z), 2 * features)


def test_accuracies_of_f_are_those_of_the_edited_weights(toy):
    theta_0, tau, _, head, data = toy
    along = accuracies_along(f, theta_0, tau, ALPHAS, head, data, linearized=False)
    assert along == [evaluate(f, apply(theta_0, tau, alpha), head, data) for alpha in ALPHAS]
    assert len(set(along)) == len(ALPHAS)


def test_accuracies_of_f_lin_are_those_of_the_linearised_model(toy):
    theta_0, tau, _, head, data = toy
    along = accuracies_along(f, theta_0, tau, ALPHAS, head, data, linearized=True)
    f_lin = linearize(f, theta_0)
    assert along == [evaluate(f_lin, apply(theta_0, tau, alpha), head, data) for alpha in ALPHAS]
    assert along[1:] != accuracies_along(f, theta_0, tau, ALPHAS, head, data, linearized=False)[1:]


@pytest.mark.parametrize("linearized", [False, True])
def test_alpha_0_is_zero_shot(toy, linearized):
    theta_0, tau, _, head, data = toy
    at_0, at_1 = accuracies_along(f, theta_0, tau, [0.0, 1.0], head, data, linearized)
    assert at_0 == evaluate(f, theta_0, head, data) != at_1


@pytest.mark.parametrize("linearized", [False, True])
def test_predictions_with_two_vectors_are_those_with_their_sum(toy, linearized):
    theta_0, tau, sigma, head, data = toy
    settings = [(0.0, 0.0), (1.0, 0.5), (0.2, 0.9)]
    predictions, labels = predict(f, theta_0, [tau, sigma], settings, head, data, linearized)
    assert torch.equal(labels, data.tensors[1])
    for found, (a, b) in zip(predictions, settings):
        summed = total([scale(tau, a), scale(sigma, b)])
        assert torch.equal(found, predict(f, theta_0, [summed], [[1.0]], head, data, linearized)[0][0])
    assert (predictions[0] != predictions[1]).any() and (predictions[1] != predictions[2]).any()


@pytest.mark.parametrize("linearized", [False, True])
def test_a_setting_needs_one_alpha_per_vector(toy, linearized):
    theta_0, tau, sigma, head, data = toy
    with pytest.raises(ValueError):
        predict(f, theta_0, [tau, sigma], [(0.5,)], head, data, linearized)


@pytest.mark.slow
@pytest.mark.parametrize("linearized", [False, True])
def test_on_the_miniature_one_pass_equals_one_evaluation_an_alpha(random_clip, task, rng, few, linearized):
    digits, theta_0 = task("Digits"), random_clip.theta_0
    head = zero_shot_head(random_clip, digits.classes, digits.manifest.templates)
    tau = {name: 0.05 * torch.randn(value.shape, generator=rng) for name, value in theta_0.items()}
    data, g = few(digits.split("test"), 300), linearize(random_clip.f, theta_0) if linearized else random_clip.f
    along = accuracies_along(random_clip.f, theta_0, tau, (0.0, 1.0), head, data, linearized)
    assert along == [evaluate(g, apply(theta_0, tau, alpha), head, data) for alpha in (0.0, 1.0)]
    assert along[0] != along[1]


# -- heads and inputs --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("linearized", [False, True])
def test_a_head_may_be_any_readout_of_the_features(toy, linearized):
    theta_0, tau, _, head, data = toy
    readout = nn.Linear(5, 3).double()
    calls = []

    def of_features(z):
        calls.append(z.shape)
        return readout(z)

    found = accuracies(f, theta_0, [tau], [[0.0], [0.5]], of_features, data, linearized)
    g = linearize(f, theta_0) if linearized else f
    x, labels = data.tensors
    with torch.no_grad():
        each = [readout(g(apply(theta_0, tau, alpha), x)).argmax(dim=-1) for alpha in (0.0, 0.5)]
    assert found == [(predicted == labels).sum().item() / len(labels) for predicted in each]
    assert calls and evaluate(f, theta_0, of_features, data) == found[0]
    same = lambda z: classify(z, head)
    assert accuracies(f, theta_0, [tau], [[0.5]], same, data, linearized) == accuracies(
        f, theta_0, [tau], [[0.5]], head, data, linearized
    )


class Masked(Dataset):
    """Points that are dicts of tensors."""

    def __init__(self, x: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor):
        self.x, self.mask, self.labels = x, mask, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[dict, torch.Tensor]:
        return {"x": self.x[i], "mask": self.mask[i]}, self.labels[i]


@pytest.mark.parametrize("linearized", [False, True])
def test_points_may_be_dicts_of_tensors(toy, rng, linearized):
    theta_0, tau, _, head, data = toy
    x, labels = data.tensors
    mask = (torch.rand(x.shape, generator=rng) > 0.3).double()
    of_dicts = lambda params, x: f(params, x["x"] * x["mask"])
    settings = [[0.0], [0.7]]
    found = predict(of_dicts, theta_0, [tau], settings, head, Masked(x, mask, labels), linearized)
    expected = predict(f, theta_0, [tau], settings, head, TensorDataset(x * mask, labels), linearized)
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], labels) and (found[0][0] != found[0][1]).any()
    assert evaluate(of_dicts, theta_0, head, Masked(x, mask, labels)) == evaluate(
        f, theta_0, head, TensorDataset(x * mask, labels)
    )


def test_too_little_memory_names_the_points_at_a_time(toy):
    theta_0, _, _, head, data = toy

    def large(params, x):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    with pytest.raises(InputError, match=r"evaluation does not fit .* with 50 points at a time") as error:
        evaluate(large, theta_0, head, data, batch_size=50)
    assert error.value.setting == "micro_batch"


WRONG = [((2, 3), (2, 1), r"labels of torch.int64, shape \(2, 1\)"), ((0, 3), (0,), "the dataset is empty")]


@pytest.mark.parametrize("x, y, said", WRONG, ids=["labels", "empty"])
def test_what_would_give_a_wrong_accuracy_is_refused(x, y, said):
    data = torch.utils.data.TensorDataset(torch.zeros(x), torch.zeros(y, dtype=torch.long))
    with pytest.raises(InputError, match=said):
        evaluate(lambda params, x: x @ params["w"], {"w": torch.eye(3)}, torch.eye(3), data)


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_that_the_head_does_not_have_are_refused(label):
    data = torch.utils.data.TensorDataset(torch.eye(3), torch.tensor([0, label, 2]))
    with pytest.raises(InputError, match=rf"from {min(label, 0)} to {max(label, 2)}, .* 0 to 2"):
        evaluate(lambda params, x: x @ params["w"], {"w": torch.eye(3)}, torch.eye(3), data)


def test_outputs_that_are_nan_are_no_class_and_refused():
    points = torch.utils.data.TensorDataset(torch.eye(2), torch.zeros(2).long())
    with pytest.raises(InputError, match="the model gives NaN"):
        evaluate(lambda params, x: x * float("nan"), {"w": torch.eye(2)}, torch.eye(2), points)


def test_outputs_that_are_views_of_the_weights_keep_their_values():
    """The weights of a setting are overwritten by those of the next."""
    f = lambda params, x: params["w"].expand(len(x), 2)
    data = torch.utils.data.TensorDataset(torch.zeros(2, 3), torch.tensor([0, 0]))
    theta_0, tau = {"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([0.0, 4.0])}
    assert accuracies(f, theta_0, [tau], [[0.1], [0.5], [1.0]], lambda z: z, data, linearized=False) == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("classes, label, dtype", [(300, 50, torch.uint8), (200, 100, torch.int8), (3, 2, torch.int32)])
def test_labels_of_any_whole_type_are_taken(classes, label, dtype):
    data = torch.utils.data.TensorDataset(torch.zeros(2, 1), torch.tensor([label, 0], dtype=dtype))
    f = lambda params, x: params["w"].expand(len(x), classes)
    assert evaluate(f, {"w": (torch.arange(classes) == label).float()}, lambda z: z, data) == 0.5


def test_labels_and_outputs_of_other_numbers_are_refused():
    f, theta_0 = (lambda params, x: (x @ params["w"]).mean(0, keepdim=True)), {"w": torch.eye(2)}
    data = torch.utils.data.TensorDataset(torch.eye(2), torch.tensor([0, 1]))
    with pytest.raises(InputError, match=r"labels of torch.int64, shape \(2,\), .* outputs of \(1, 2\)"):
        evaluate(f, theta_0, torch.eye(2), data)
    halves = torch.utils.data.TensorDataset(torch.eye(2), torch.tensor([0.5, 0.5]))
    with pytest.raises(InputError, match=r"labels of torch\.float32"):
        evaluate(lambda params, x: x @ params["w"], theta_0, torch.eye(2), halves)
