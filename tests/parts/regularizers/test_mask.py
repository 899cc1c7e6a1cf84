"""Pruned weights: masks against torch.nn.utils.prune, and their training against a network that torch has pruned."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune as of_torch

from fanin.errors import OptionError
from fanin.parts.clipping import ClipNorm
from fanin.parts.losses import cross_entropy
from fanin.parts.optimizers import Momentum
from fanin.parts.regularizers import L2, SAM, Mask
from fanin.run.pruning import Pruning, masks_of, pruned_weights
from fanin.train.fused_learner import FusedLearner
from fanin.train.single_learner import SingleLearner
from fanin.train.step import Method
from fanin.train.trained_model import TrainedModel

RATE, STRENGTH, BOUND = 0.1, 0.3, 0.5


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def steps(seed: int, count: int = 6) -> list[tuple[Tensor, Tensor]]:
    stream = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(7, 6, generator=stream, dtype=torch.float64), torch.randint(3, (7,), generator=stream))
        for _ in range(count)
    ]


def pruned(model: nn.Sequential, share: float) -> dict[str, Tensor]:
    return masks_of(pruned_weights(model), 1 - share)


def masked(model: nn.Module, masks: dict[str, Tensor], *, sam: bool = False) -> TrainedModel:
    with torch.no_grad():
        for name, mask in masks.items():
            model.get_submodule(name).get_parameter("weight").mul_(mask)
    method = Method(
        penalties=[L2(strength=STRENGTH)], clipping=ClipNorm(bound=BOUND), sam=SAM(rho=0.1) if sam else None
    )
    optimizer = Momentum(model.parameters(), lr=RATE, momentum=0.9)
    return TrainedModel(model=model, optimizer=optimizer, method=method, masks=masks)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.97])
def test_masks_are_those_of_torch(share: float) -> None:
    """Of shares of which neither has half an entry left, where the two round apart."""
    model = network(3)
    layers = [(layer, "weight") for layer in model if isinstance(layer, nn.Linear)]
    everywhere, by_layer = copy.deepcopy(model), copy.deepcopy(model)
    of_torch.global_unstructured(
        [(layer, "weight") for layer in everywhere if isinstance(layer, nn.Linear)],
        of_torch.L1Unstructured,
        amount=share,
    )
    for layer in by_layer:
        if isinstance(layer, nn.Linear):
            of_torch.l1_unstructured(layer, "weight", amount=share)
    for scope, theirs in (("global", everywhere), ("layer", by_layer)):
        ours = masks_of(pruned_weights(model), 1 - share, scope=scope)
        assert len(ours) == len(layers)
        for name, mask in ours.items():
            assert torch.equal(mask, theirs.get_submodule(name).weight_mask.bool()), (scope, name)


def test_what_is_pruned_stays_pruned_and_counts_are_exact() -> None:
    weights = pruned_weights(network(4))
    total = sum(one.numel() for one in weights.values())
    asked, masks = Pruning(share=0.9, rounds=4), None
    for done in range(1, 5):
        weights = {name: torch.randn_like(one) for name, one in weights.items()}  # training moved all of them
        before, masks = masks, masks_of(weights, asked.kept(done), before=masks)
        assert sum(int(mask.sum()) for mask in masks.values()) == round(0.1 ** (done / 4) * total)
        assert before is None or all(bool((before[name] | ~masks[name]).all()) for name in masks)


def test_random_masks_have_the_share_and_are_drawn() -> None:
    weights = pruned_weights(network(5))
    one, two = (masks_of(weights, 0.5, random=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert any(not torch.equal(one[name], two[name]) for name in one)
    assert sum(int(mask.sum()) for mask in one.values()) == round(0.5 * sum(map(torch.numel, one.values())))


def test_training_is_that_of_a_network_that_torch_has_pruned() -> None:
    """With momentum, a penalty and clipping, whose norm must not see what is pruned."""
    model, masks = network(6), pruned(network(6), 0.7)
    theirs = copy.deepcopy(model)
    own = SingleLearner(masked(model, masks))
    for name, mask in masks.items():
        of_torch.custom_from_mask(theirs.get_submodule(name), "weight", mask)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=RATE, momentum=0.9)
    for inputs, targets in steps(1):
        own.step((inputs.unsqueeze(0), targets.unsqueeze(0)), [RATE])
        optimizer.zero_grad()
        outputs = theirs(inputs)
        weights = [theirs.get_submodule(name).weight for name in masks]
        loss = cross_entropy(outputs, targets) + STRENGTH / 2 * sum(one.square().sum() for one in weights)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(theirs.parameters(), BOUND)
        optimizer.step()
    for name, mask in masks.items():
        found, expected = model.get_submodule(name), theirs.get_submodule(name)
        # six float64 steps; torch adds 1e-6 to the norm that it clips by
        torch.testing.assert_close(found.weight, expected.weight_orig * mask, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(found.bias, expected.bias, rtol=1e-4, atol=1e-6)
        assert not found.weight[~mask].any()


@pytest.mark.parametrize("shares", [(0.7, 0.2, 0.9)])
def test_stacked_runs_have_masks_of_their_own(shares: Sequence[float]) -> None:
    masks = [pruned(network(seed), share) for seed, share in enumerate(shares)]
    alone = [SingleLearner(masked(network(seed), mask)) for seed, mask in enumerate(masks)]
    together = FusedLearner([masked(network(seed), mask) for seed, mask in enumerate(masks)])
    for each in zip(*(steps(seed) for seed in range(3)), strict=True):
        inputs, targets = (torch.stack(list(part)) for part in zip(*each, strict=True))
        together.step((inputs, targets), [RATE] * 3)
        for run, one in enumerate(alone):
            one.step((inputs[run : run + 1], targets[run : run + 1]), [RATE])
    for run, one in enumerate(alone):
        found = together.best_weights(run)
        for name, value in one.best_weights(0).items():
            torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-12)
        assert all(not found[f"{name}.weight"][~mask].any() for name, mask in masks[run].items())


def test_uphill_pruned_weights_stay_0() -> None:
    model, masks = network(7), pruned(network(7), 0.6)
    own = masked(model, masks, sam=True)
    seen: list[bool] = []
    model[2].register_forward_pre_hook(lambda layer, _: seen.append(bool(layer.weight[~masks["2"]].any())))
    one = SingleLearner(own)
    for inputs, targets in steps(2, 3):
        one.step((inputs.unsqueeze(0), targets.unsqueeze(0)), [RATE])
    assert len(seen) == 6
    assert not any(seen)


def test_what_does_not_fit_is_told(tmp_path: Path) -> None:
    model = network(8)
    masks = pruned(model, 0.5)

    def told(made: Mask) -> str:
        with pytest.raises(OptionError) as error:
            made.check(model)
        return str(error.value)

    assert told(Mask()) == "path=null: must be a file of masks, as fanin-prune writes"
    assert told(Mask(path=str(tmp_path / "gone"))).endswith("there is no such file")
    torch.save({"0": torch.ones(8, 6)}, tmp_path / "floats.pt")
    assert "it cannot be read (no bool tensors by name)" in told(Mask(path=str(tmp_path / "floats.pt")))
    torch.save({"0": torch.ones(6, 8, dtype=torch.bool)}, tmp_path / "other.pt")
    assert "0 (6, 8): the model's is (8, 6)" in told(Mask(path=str(tmp_path / "other.pt")))
    torch.save({"9": torch.ones(6, 8, dtype=torch.bool)}, tmp_path / "none.pt")
    assert "the model has no such layer" in told(Mask(path=str(tmp_path / "none.pt")))
    torch.save(masks, tmp_path / "masks.pt")
    assert (
        told(Mask(path=str(tmp_path / "masks.pt"), share=0.4)) == "share=0.4: must be null or that of the file, 0.4951"
    )
    (tmp_path / "broken.pt").write_bytes((tmp_path / "masks.pt").read_bytes()[:-99])
    assert "it cannot be read (it is no whole archive" in told(Mask(path=str(tmp_path / "broken.pt")))


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"share": 1.0}, "share=1.0: must be a finite number > 0 and < 1"),
        ({"share": 0.5, "rounds": 0}, "rounds=0: must be an integer >= 1"),
        ({"share": 0.5, "scope": "all"}, "scope=all: must be one of global, layer"),
        (
            {"share": 0.5, "rewind": "initial"},
            "rewind=initial: must be one of init, none, redraw, step_N; did you mean",
        ),
        ({"share": 0.5, "steps": 0}, "steps=0: must be at least 1 with rewind=init; or take rewind none"),
    ],
)
def test_a_pruning_that_cannot_be_is_told(keys: dict[str, float], told: str) -> None:
    with pytest.raises(OptionError) as error:
        Pruning(**keys)  # type: ignore[arg-type]
    assert str(error.value).startswith(told)
