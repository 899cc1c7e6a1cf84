"""What all normalizations have in common: placements, values that are refused, and what makes nothing."""

from __future__ import annotations

import pytest
from torch import nn

from fanin.errors import OptionError
from fanin.parts.normalization import (
    BatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    LocalResponseNorm,
    NoNorm,
    RMSNorm,
    SpectralNorm,
    WeightNorm,
)
from fanin.parts.normalization.base import Normalization

BETWEEN = [BatchNorm, GroupNorm, InstanceNorm, LayerNorm, LocalResponseNorm, RMSNorm]
OF_WEIGHTS = [SpectralNorm, WeightNorm]
STATISTICS = [BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm]


def test_only_none_is_neutral() -> None:
    assert [kind for kind in (NoNorm, *BETWEEN, *OF_WEIGHTS) if kind.neutral] == [NoNorm]


@pytest.mark.parametrize("kind", [NoNorm, *OF_WEIGHTS])
@pytest.mark.parametrize("dims", [0, 2])
def test_what_places_nothing(kind: type[Normalization], dims: int) -> None:
    assert kind(placement="post_activation").make(8, dims) is None


@pytest.mark.parametrize("kind", [NoNorm, *BETWEEN])
def test_what_stands_between_layers_leaves_them_as_they_are(kind: type[Normalization]) -> None:
    layer = nn.Linear(3, 4)
    assert kind().wrap(layer) is layer
    assert type(layer) is nn.Linear


@pytest.mark.parametrize("kind", [NoNorm, *BETWEEN, *OF_WEIGHTS])
def test_placement_is_kept_and_checked(kind: type[Normalization]) -> None:
    paper = "post_activation" if kind is LocalResponseNorm else "pre_activation"
    assert kind().placement == paper
    assert kind(placement="post_activation").placement == "post_activation"
    with pytest.raises(OptionError) as caught:
        kind(placement="post_activations")
    assert str(caught.value) == (
        "placement=post_activations: must be one of pre_activation, post_activation; did you mean post_activation?"
    )


@pytest.mark.parametrize(
    ("kind", "dims"), [(kind, dims) for kind in STATISTICS for dims in (0, 2) if dims or kind is not InstanceNorm]
)
def test_without_affine_nothing_is_learned(kind: type[Normalization], dims: int) -> None:
    learned = kind().make(8, dims)
    fixed = kind(affine=False).make(8, dims)  # type: ignore[call-arg]
    assert learned is not None
    assert fixed is not None
    shapes = {name: tuple(parameter.shape) for name, parameter in learned.named_parameters()}
    assert shapes == {"weight": (8,)} | ({} if kind is RMSNorm else {"bias": (8,)})
    assert list(fixed.parameters()) == []


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        *[(kind, {"eps": 0}, "eps=0: must be a finite number > 0") for kind in STATISTICS],
        *[(kind, {"affine": "yes"}, "affine=yes: must be true or false") for kind in STATISTICS],
        (BatchNorm, {"momentum": -0.1}, "momentum=-0.1: must be a finite number >= 0 and <= 1"),
        (BatchNorm, {"momentum": 1.1}, "momentum=1.1: must be a finite number >= 0 and <= 1"),
        (GroupNorm, {"groups": 0}, "groups=0: must be an integer >= 1"),
        (LocalResponseNorm, {"size": 4}, "size=4: must be odd; the sum reaches equally far to both sides"),
        (LocalResponseNorm, {"k": 0}, "k=0: must be a finite number > 0"),
        (LocalResponseNorm, {"alpha": -1}, "alpha=-1: must be a finite number >= 0"),
        (LocalResponseNorm, {"beta": -1}, "beta=-1: must be a finite number >= 0"),
        (SpectralNorm, {"iterations": 0}, "iterations=0: must be an integer >= 1"),
    ],
)
def test_bad_values_give_one_line(kind: type[Normalization], values: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        kind(**values)  # type: ignore[arg-type]
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("settings", "features", "dims", "message"),
    [
        (GroupNorm(groups=4), 30, 0, "groups=4: must be a divisor of the 30 features of a layer; try 3"),
        (GroupNorm(groups=16), 8, 2, "groups=16: must be a divisor of the 8 features of a layer; try 8"),
        (GroupNorm(groups=8), 8, 0, "groups=8: must be less than the 8 features of a layer; one value has no spread"),
    ],
)
def test_groups_that_do_not_fit_are_told_under_their_own_key(
    settings: Normalization, features: int, dims: int, message: str
) -> None:
    with pytest.raises(OptionError) as caught:
        settings.make(features, dims)
    # The model is made when this shows, but the key is not the model's.
    assert str(caught.value.within("model")) == f"normalization.{message}"


def test_instance_normalization_needs_maps() -> None:
    with pytest.raises(OptionError) as caught:
        InstanceNorm().make(8)
    assert str(caught.value.within("model")) == (
        "normalization=instance: must be on the maps of a convolutional model; one value has no spread; "
        "take model=cnn, or normalization=layer"
    )
