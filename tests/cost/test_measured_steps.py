"""The cost of a step: what is counted is what is held, what is trained and what the backward pass keeps."""

import pytest
import torch

from tangent_lib.cost import measured_steps
from tangent_lib.cost.measured_steps import LISTING_1, WAYS, step_costs
from tangent_lib.linearization import functional
from tangent_lib.modes import select
from tangent_lib.runtime.errors import InputError


@pytest.fixture(scope="module")
def costs(random_clip):
    head, x = torch.randn(5, 128), torch.randn(8, 3, 32, 32)
    return step_costs(random_clip.f, random_clip.theta_0, head, x, torch.arange(8) % 5, repeats=1)


def linear_layer(rows, **options):
    f, theta_0 = functional(torch.nn.Linear(4, 3, bias=False))
    labels = torch.zeros(rows, dtype=torch.long)
    return step_costs(f, theta_0, torch.eye(3), torch.ones(rows, 4), labels, repeats=1, **options)


def test_the_linear_step_keeps_what_the_non_linear_one_does_and_that_of_listing_1_more(costs):
    assert costs["linear"].saved_bytes == costs["non-linear"].saved_bytes > 0
    assert costs[LISTING_1].saved_bytes > 1.2 * costs["non-linear"].saved_bytes
    assert list(costs) == [*WAYS, LISTING_1] and all(cost.seconds > 0 for cost in costs.values())


def test_attention_only_keeps_and_trains_less(costs):
    assert 0 < costs["attention-only"].saved_bytes < costs["non-linear"].saved_bytes
    assert costs["attention-only"].memory_bytes < costs["non-linear"].memory_bytes < costs["linear"].memory_bytes


def test_numbers_held_and_trained_against_the_model_itself(costs, random_clip):
    every = sum(p.numel() for p in random_clip.model.visual.parameters())
    attention = sum(random_clip.theta_0[name].numel() for name in select(random_clip.theta_0, "attention weights"))
    held, trained = [every, 2 * every, every, 2 * every], [every, every, attention, every]
    assert [cost.parameters for cost in costs.values()] == held
    assert [cost.trainable for cost in costs.values()] == trained
    assert [cost.gradient_bytes for cost in costs.values()] == [4 * numbers for numbers in trained]
    assert [cost.weight_bytes for cost in costs.values()] == [4 * numbers for numbers in held]


def test_weights_are_not_counted_as_activations():
    small, large = linear_layer(1, ways=("non-linear",)), linear_layer(10, ways=("non-linear",))
    assert 0 < small["non-linear"].saved_bytes < large["non-linear"].saved_bytes


def test_a_model_without_attention_is_refused():
    with pytest.raises(InputError, match="trains nothing"):
        linear_layer(1)


def test_listing_1_is_measured_only_where_it_is_asked_for(monkeypatch):
    asked = []
    noting = lambda f, theta_0: lambda params, x: (asked.append(len(x)), f(params, x))[1]
    monkeypatch.setattr(measured_steps, "listing_1", noting)
    assert list(linear_layer(2, ways=("non-linear", "linear"))) == ["non-linear", "linear"] and not asked
    linear_layer(2, ways=(LISTING_1,))
    assert asked == [2, 2]  # once to count bytes, once to take the time


def test_an_unknown_way_is_refused():
    with pytest.raises(InputError, match=r"attention-onl'.*did you mean 'attention-only'"):
        linear_layer(1, ways=("attention-onl",))


def test_the_time_is_the_median_of_the_rounds():
    (cost,) = linear_layer(1, ways=("non-linear",)).values()
    assert cost.rounds == (cost.seconds,)
