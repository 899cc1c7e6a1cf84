"""What a run takes in memory, against sums by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from fanin.api.resolvers import register_resolvers
from fanin.catalogue import config_folder
from fanin.run.build import recipe
from fanin.sweep.fused_groups import most_together
from fanin.sweep.memory import bytes_of_a_run, slots

GAUSSIAN = (
    "data=gaussian", "data.features=30", "data.classes=5", "data.examples=600", "model.width=20", "model.depth=3",
    "trainer.batch_size=40", "probe=off",
)  # fmt: skip
MATRICES = 30 * 20 + 20 * 20 + 20 * 5


@pytest.fixture(scope="module", autouse=True)
def hydra() -> Iterator[None]:
    """Hydra, ready to compose fanin's configuration."""
    register_resolvers()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        yield


def configuration(*words: str) -> DictConfig:
    return compose("config", [*GAUSSIAN, "model.bias=false", *words])


@pytest.mark.parametrize(
    ("words", "copies"),
    [
        ((), 4),
        (("optimizer=adam",), 6),
        (("averaging=ema",), 5),
        (("trainer.precision=float64",), 8),
    ],
    ids=str,
)
def test_a_chain_of_matrices(words: tuple[str, ...], copies: int) -> None:
    """Backpropagation needs the inputs of each of the three matrices, which ReLUs, needing their outputs, share."""
    kept = 40 * (30 + 20 + 20) * (2 if "trainer.precision=float64" in words else 1)
    assert bytes_of_a_run(configuration(*words)) == 4 * (copies * MATRICES + kept)


def test_a_look_keeps_all_outputs_and_their_gradients() -> None:
    """Of the modules linear, relu, linear, relu, linear: 20 + 20 + 20 + 20 + 5 entries an example."""
    looked_at = 100 * (30 + 20 + 20) + 2 * 100 * (4 * 20 + 5)
    assert bytes_of_a_run(configuration("probe=norms", "probe.batch_size=100")) == 4 * (4 * MATRICES + looked_at)


def test_maps_count_with_their_places() -> None:
    """A convolution's 5 maps of 28 x 28 outweigh its 45 weights: input, ReLU's output, pooled, its indices, hidden."""
    words = ("data=digits", "model=cnn", "model.channels=[5]", "model.width=10", "trainer.batch_size=40", "probe=off")
    weights = 5 * 9 + 5 * 14 * 14 * 10 + 10 * 10
    each = 28 * 28 + 5 * 28 * 28 + 5 * 14 * 14 + 2 * 5 * 14 * 14 + 10  # indices have 8 bytes
    assert bytes_of_a_run(compose("config", [*words, "model.bias=false"])) == 4 * (4 * weights + 40 * each)


def test_functions_of_the_weights_do_not_grow_with_the_batch() -> None:
    small, large = (
        bytes_of_a_run(configuration("normalization=weight", f"trainer.batch_size={size}")) for size in (40, 80)
    )
    # Each of the layers keeps its input, or its input and its output, whatever torch chooses to keep.
    assert 4 * 40 * 70 <= large - small <= 4 * 40 * (30 + 6 * 20)


@pytest.mark.parametrize(("name", "kept"), [("sgd", 0), ("momentum", 1), ("rmsprop", 1), ("adam", 2), ("lion", 1)])
def test_slots_of_the_optimizer(name: str, kept: int) -> None:
    assert slots(recipe(configuration(f"optimizer={name}"))) == kept


@pytest.mark.parametrize(("steps", "budget"), [(9, 320e6), (0, 160e6)], ids=str)
@pytest.mark.parametrize("width", [20, 1000])
def test_a_program_on_a_core_is_small(width: int, steps: int, budget: float) -> None:
    """So many megabytes, fewer where nothing is trained, and at most 64 runs."""
    weights, kept = 30 * width + width**2 + 5 * width, 40 * (30 + 2 * width)
    most = min(64, math.floor(budget / (4 * (4 * weights + kept))))
    assert most == (64 if width == 20 else {9: 18, 0: 9}[steps])
    cfg = configuration(f"model.width={width}", f"trainer.steps={steps}")
    assert most_together(cfg, "auto", 2, gpu=False) == most
