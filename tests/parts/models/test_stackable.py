"""Models that say they can be stacked: vmap over three of them gives each one's outputs, gradients and buffers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanin.parts import activations
from fanin.parts.models import Cnn, LinearModel, Mlp, ResidualMlp, Resnet
from fanin.parts.normalization import BatchNorm, GroupNorm, NoNorm, SpectralNorm, WeightNorm
from fanin.parts.per_run import is_stackable
from networks import IMAGE, build, drawn, normal
from stacking import assert_stacked_equals_single

SIZES: dict[type[Any], dict[str, Any]] = {
    LinearModel: {},
    Mlp: {"depth": 4, "width": 6, "bias": True},
    ResidualMlp: {"depth": 6, "width": 6, "scale": "depth"},
    Cnn: {"channels": [2, 4], "depth": 2, "width": 6},
    Resnet: {"channels": [2, 4], "blocks": 2},
}
NORMS = [NoNorm(), BatchNorm(), GroupNorm(groups=2), WeightNorm(), SpectralNorm()]
ACTIVATIONS = [activations.relu, activations.mish, activations.softsign]


@pytest.mark.parametrize("kind", SIZES)
@given(norm=st.sampled_from(NORMS), activation=st.sampled_from(ACTIVATIONS), seed=st.integers(0, 99))
@settings(max_examples=6, deadline=None)
def test_stacked_equals_single(kind: Any, norm: Any, activation: Any, seed: int) -> None:
    assert is_stackable(kind)
    parts = {} if kind is LinearModel else {"normalization": norm, "activation": activation}
    models = [drawn(build(kind, **SIZES[kind], **parts), 3 * seed + run) for run in range(3)]
    shape = IMAGE if kind in (Cnn, Resnet) else (5,)
    assert_stacked_equals_single(models, normal(seed, 3, 6, *shape))
