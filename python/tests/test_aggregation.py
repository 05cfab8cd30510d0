"""Combinations of models: against plain numpy, in any order, with the memory of one model."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from manta.light import aggregation as ag
from manta.light.errors import InvalidArgument

SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, max_side=5)
NUMBERS = st.floats(-1e6, 1e6, width=32)


@st.composite
def stacks(draw: st.DrawFn, least: int = 1) -> Any:
    """Several arrays of one shape and dtype, as one array."""
    shape = (draw(st.integers(least, 9)), *draw(SHAPES))
    dtype = draw(st.sampled_from(["<f4", "<f8", ">f8"]))
    return draw(hnp.arrays(dtype, shape, elements=NUMBERS))


def as_models(stack: Any) -> dict[str, Any]:
    return {f"node-{index}": {"a": row, "b": [row * 2, (1.0,)]} for index, row in enumerate(stack)}


@given(stacks(), st.data())
def test_a_weighted_mean_is_numpys_average(stack: Any, data: st.DataObject) -> None:
    weights = data.draw(st.lists(st.integers(1, 1000), min_size=len(stack), max_size=len(stack)))
    mean = ag.weighted_average(as_models(stack), weights)
    expected = np.average(stack.astype(float), axis=0, weights=weights)
    tolerance = 1e-5 * float(np.abs(stack).max(initial=0)) + 1e-9
    np.testing.assert_allclose(mean["a"], expected, rtol=0, atol=tolerance)
    np.testing.assert_allclose(mean["b"][0], 2 * expected, rtol=0, atol=2 * tolerance)
    assert mean["a"].dtype == stack.dtype.newbyteorder("=")
    assert isinstance(mean["b"][1], tuple) and mean["b"][1][0] == pytest.approx(1.0)


COMBINATIONS = {
    "mean": lambda models: ag.weighted_average(models, {key: 1 + int(key[5:]) for key in models}),
    "median": ag.coordinate_median,
    "trimmed": lambda models: ag.trimmed_mean(models, 0.2),
    "krum": lambda models: ag.krum(models, 1),
    "multi-krum": lambda models: ag.krum(models, 1, chosen=3),
}


@pytest.mark.parametrize("name", COMBINATIONS)
@given(stack=stacks(least=5), seed=st.integers(0, 2**32))
def test_the_order_of_arrival_changes_no_bit(name: str, stack: Any, seed: int) -> None:
    models = as_models(stack)
    shuffled = {key: models[key] for key in np.random.default_rng(seed).permutation(sorted(models)).tolist()}
    first, second = COMBINATIONS[name](models), COMBINATIONS[name](shuffled)
    assert first["a"].tobytes() == second["a"].tobytes()


@given(stacks())
def test_median_and_trimmed_mean_are_the_plain_ones(stack: Any) -> None:
    models = list(stack)
    np.testing.assert_array_equal(ag.coordinate_median(models), np.median(stack, axis=0).astype(stack.dtype))
    cut = int(0.3 * len(stack))
    expected = np.sort(stack.astype(float), axis=0)[cut : len(stack) - cut].mean(axis=0)
    tolerance = 1e-5 * float(np.abs(stack).max(initial=0)) + 1e-9
    np.testing.assert_allclose(ag.trimmed_mean(models, 0.3), expected, rtol=0, atol=tolerance)


def test_krum_leaves_out_who_is_far_away() -> None:
    rng = np.random.default_rng(5)
    good = {f"node-{index}": rng.normal(0, 0.1, 100) for index in range(6)}
    bad = {f"node-{index}": rng.normal(50, 1, 100) for index in (6, 7)}
    stack = np.stack(list(good.values()) + list(bad.values()))
    distances = ((stack[:, None] - stack[None]) ** 2).sum(axis=2)
    scores = [np.sort(np.delete(row, place))[: 8 - 2 - 2].sum() for place, row in enumerate(distances)]
    np.testing.assert_array_equal(ag.krum({**bad, **good}, faulty=2), stack[int(np.argmin(scores))])
    assert abs(ag.krum({**bad, **good}, faulty=2, chosen=3).mean()) < 0.1


def test_the_memory_of_a_mean_is_that_of_one_model() -> None:
    size = 4_000_000

    class Streamed(dict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            return np.broadcast_to(np.float32(super().__getitem__(key)), (size,))

    tracemalloc.start()
    mean = ag.weighted_average(Streamed({f"node-{index:02}": index for index in range(40)}))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert mean[0] == pytest.approx(19.5) and mean.dtype == np.float32
    assert peak < 1.2 * 4 * size, peak


def test_narrow_and_whole_numbers_keep_their_meaning() -> None:
    half = ag.weighted_average([np.full(3, 60000, np.float16), np.full(3, 65000, np.float16)])
    assert half.dtype == np.float16 and half[0] == np.float16(62500)
    whole = ag.weighted_average([np.array([1, 2]), np.array([2, 2])])
    assert whole.dtype == float and whole.tolist() == [1.5, 2.0]
    assert ag.weighted_average([1, 2]) == 1.5 and type(ag.weighted_average([1, 2])) is float
    assert type(ag.weighted_average([np.float32(1), np.float32(2)])) is np.float32
    assert ag.fedavg([1 + 2j, 3 + 4j]) == 2 + 3j


@pytest.mark.parametrize(
    ("values", "weights", "told"),
    [
        ([], None, "nothing to combine"),
        ({"a": 1.0}, {"b": 1}, 'no weight for "a"'),
        ([1.0, 2.0], [1], "1 weights for 2 values"),
        ([1.0, 2.0], [1, -1], "the weight of entry 1 is -1"),
        ([1.0, 2.0], [1, float("nan")], "the weight of entry 1 is nan"),
        ([1.0, 2.0], [0, 0], "all weights are 0"),
        ({"a": {"w": 1.0}, "b": {"v": 1.0}}, None, 'the model of "b" has another form'),
        ({"a": {"w": np.ones(2)}, "b": {"w": np.ones(3)}}, None, "['w'] of the model of \"b\" has shape (3,)"),
        ([{"w": "text"}], None, "['w'] holds <U4"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(values: Any, weights: Any, told: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        ag.weighted_average(values, weights)
    assert told in str(caught.value)


def test_robust_combinations_refuse_what_they_cannot_promise() -> None:
    with pytest.raises(InvalidArgument, match="needs at least 5 values, not 4"):
        ag.krum([1.0, 2.0, 3.0, 4.0], faulty=1)
    with pytest.raises(InvalidArgument, match="in 1 to 4"):
        ag.krum([1.0] * 5, faulty=1, chosen=5)
    with pytest.raises(InvalidArgument, match="the share to trim"):
        ag.trimmed_mean([1.0], 0.5)


def test_the_proximal_term_is_the_gradient_of_its_penalty() -> None:
    rng = np.random.default_rng(1)
    model, center = {"w": rng.normal(size=4)}, {"w": rng.normal(size=4)}
    gradient = ag.fedprox_gradient(model, center, 0.3)["w"]
    for place in range(4):
        moved = {"w": model["w"] + 1e-6 * np.eye(4)[place]}
        slope = (ag.fedprox_penalty(moved, center, 0.3) - ag.fedprox_penalty(model, center, 0.3)) / 1e-6
        assert slope == pytest.approx(gradient[place], abs=1e-5)


def test_server_steps_are_the_papers_recursions() -> None:
    rng = np.random.default_rng(2)
    w, averages = rng.normal(size=5), rng.normal(size=(6, 5))
    velocity = np.zeros(5)
    ours, state = {"w": w}, None
    plain = w.copy()
    for average in averages:
        ours, state = ag.fedavgm_step(ours, {"w": average}, state, rate=0.5, momentum=0.8)
        velocity = 0.8 * velocity + (plain - average)
        plain = plain - 0.5 * velocity
    np.testing.assert_allclose(ours["w"], plain, rtol=1e-12)
    for step, yogi in ((ag.fedadam_step, False), (ag.fedyogi_step, True)):
        ours, state, plain = {"w": w}, None, w.copy()
        first, second = np.zeros(5), np.full(5, 1e-6)
        for average in averages:
            ours, state = step(ours, {"w": average}, state)
            gap = average - plain
            first = 0.9 * first + 0.1 * gap
            square = gap**2
            second = second - 0.01 * square * np.sign(second - square) if yogi else 0.99 * second + 0.01 * square
            plain = plain + 0.1 * first / (np.sqrt(second) + 1e-3)
        np.testing.assert_allclose(ours["w"], plain, rtol=1e-12)
    ours, _ = ag.fedavgm_step({"w": w}, {"w": averages[0]}, momentum=0.0)
    np.testing.assert_allclose(ours["w"], averages[0], rtol=1e-12)


def test_scaffold_finds_the_common_optimum_that_local_steps_miss() -> None:
    """Two quadratic nodes of different curvature: local steps alone drift, and the control variates take that out."""
    curvature, centers = np.array([1.0, 10.0]), np.array([0.0, 1.0])
    optimum = (curvature * centers).sum() / curvature.sum()
    x, control, own = 0.0, 0.0, [0.0, 0.0]
    plain = 0.0
    for _ in range(300):
        ends, changes, drifted = [], [], []
        for node in range(2):
            y, z = x, plain
            for _ in range(10):
                y -= 0.05 * (curvature[node] * (y - centers[node]) + ag.scaffold_correction(control, own[node]))
                z -= 0.05 * curvature[node] * (z - centers[node])
            fresh = ag.scaffold_node_control(own[node], control, x, y, steps=10, rate=0.05)
            ends.append(y)
            changes.append(fresh - own[node])
            drifted.append(z)
            own[node] = fresh
        x, control = ag.scaffold_server_step(x, control, ends, changes, nodes=2)
        plain = ag.weighted_average(drifted)
    assert x == pytest.approx(optimum, abs=1e-6)
    assert abs(plain - optimum) > 0.05
    with pytest.raises(InvalidArgument, match="2 nodes took part"):
        ag.scaffold_server_step(0.0, 0.0, [1.0, 1.0], [0.0, 0.0], nodes=1)


def test_narrow_floats_of_machine_learning_are_combined() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="needs ml_dtypes")
    mean = ag.weighted_average([np.ones(2, ml_dtypes.bfloat16), np.full(2, 2, ml_dtypes.bfloat16)])
    assert mean.dtype == ml_dtypes.bfloat16 and float(mean[0]) == 1.5
