"""Deep networks in float32: where rounding grows, fused runs may differ from those alone, and by how much."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from engine import EPSILON
from fanin.parts.normalization import BatchNorm, LayerNorm
from fanin.probes.probe import measure_profile
from together import batches, joined, pair, rates, single, train


def rounded_otherwise(inputs: Tensor) -> Tensor:
    """The next number above or below, for each of them."""
    up = torch.rand(inputs.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    return torch.nextafter(inputs, torch.where(up, torch.inf, -torch.inf).to(inputs.dtype))


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"depth": 50, "width": 100, "in_features": 784, "out_features": 10, "size": 40, "scale": 0.33}, 8),
        ({"depth": 20, "normalization": BatchNorm(), "lr": 0.02}, 4),
        ({"depth": 50, "normalization": LayerNorm(placement="post_activation"), "lr": 0.02}, 8),
    ],
    ids=["study", "batch normalization", "layer normalization"],
)
def test_deep_networks_differ_by_less_than_by_a_rounding_of_their_inputs(settings: dict[str, Any], steps: int) -> None:
    """A deep network may make ten thousand times more of a rounding error within some steps, and 20 layers with batch
    normalization a million times: where a unit's sign flips its gradient jumps. How much it does, the same runs tell
    with every input moved to the next number: fused runs may be off by ten times what that makes of it until then.

    In the study's network, with examples as long as MNIST's images, c = 3 leaves the finite numbers within a few
    steps, and then both do, at one layer.
    """
    data = {key: settings.pop(key) for key in ("size", "scale") if key in settings}
    data |= {"features": (settings.get("in_features", 12),)}
    lr = settings.pop("lr", 0.003)
    runs = [{"seed": run, "c": c, **settings} for run, c in enumerate((1.0, 2.0, 2.0, 3.0))]
    alone, fused = pair(runs)
    if "normalization" not in settings:
        own = batches(4, 99, **data)
        _, values = measure_profile(fused.observe(joined(own)))
        for run, one in enumerate(alone):
            expected = measure_profile(one.observe(own[run]))[1]
            torch.testing.assert_close(values[run], expected[0], rtol=1e-6, atol=0, equal_nan=True)
    expected, losses = train(alone, fused, range(steps), lr=lr, **data)
    assert torch.equal(losses.isfinite(), expected.isfinite())
    assert [fused.culprit(run) for run in range(4)] == [one.culprit(0) for one in alone]
    assert (fused.culprit(3) is not None) == (settings["depth"] == 50 and "normalization" not in settings)
    moved, grown = [single(**run) for run in runs], []
    for step in range(steps):
        each = zip(moved, batches(4, step, **data), rates(4, step, lr), strict=True)
        found = torch.cat([one.step((rounded_otherwise(x), y), [rate]).loss.double() for one, (x, y), rate in each])
        off = (found / expected[step] - 1).abs()
        grown.append(float(off[off.isfinite()].max()))
    deviation = (losses / expected - 1).abs().nan_to_num().amax(1)
    allowed = [10 * max(*grown[: step + 1], EPSILON) for step in range(steps)]
    assert (deviation <= torch.tensor(allowed, dtype=torch.float64)).all(), (deviation, grown)
