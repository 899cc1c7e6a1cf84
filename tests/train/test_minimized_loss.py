"""Products with the Hessian and the Gauss-Newton matrix of what runs minimize, against dense matrices of torch.func."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import jacrev

from fanin.probes.curvature.lanczos import lanczos
from fanin.train.minimized_loss import MinimizedLosses
from fanin.train.trained_model import TrainedModel
from minimized import CLOUDS, DRAWS, FURTHER, GROUPS, hessian, made, near, plain

CASES = [*((name, "evaluation") for name in GROUPS), ("resnet", "training"), ("vae", "training"),
         *(pytest.param(name, "evaluation", marks=pytest.mark.slow) for name in FURTHER)]  # fmt: skip


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_products_are_those_of_the_dense_matrix(name: str, mode: str) -> None:
    """Of every kind of model: f, H v, G v and the largest eigenvalue."""
    words = (GROUPS | FURTHER)[name]
    members, x, y = made(words)
    outputs, minimized, theta = plain(members[0], x, y, mode)
    exact = hessian(minimized, draws=name in DRAWS or mode == "training")(theta)
    assert len(theta) < 700
    losses = MinimizedLosses(members).at(x, y, mode=mode)
    v = torch.randn(len(theta), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(losses.losses()[0], minimized(theta), rtol=1e-12, atol=1e-12)
    near(losses.hessian().matvec(v), exact @ v, exact)
    top = lanczos(losses.hessian(), v[None], tolerance=1e-9, most=len(v)).largest[0, 0]
    torch.testing.assert_close(top, torch.linalg.eigvalsh(exact)[-1], rtol=1e-8, atol=0.0)

    jacobian = jacrev(outputs)(theta).flatten(0, 1)
    out = outputs(theta)
    bent = hessian(lambda flat: members[0].method.minimized(flat.view_as(out), y, x))(out.flatten())
    penalties = 0.3 * torch.diag(weighs(members[0])) if name == "mlp" else 0.0
    gauss_newton = jacobian.mT @ bent @ jacobian + penalties
    near(losses.gauss_newton().matvec(v), gauss_newton @ v, gauss_newton)


def weighs(own: TrainedModel) -> Tensor:
    """1 for each coordinate of a weight matrix, which is penalized, 0 for biases."""
    return torch.cat([torch.full((p.numel(),), float(p.ndim >= 2), dtype=p.dtype) for p in own.parameters])


@pytest.mark.parametrize("mode", ["evaluation", "training"])
def test_many_runs_and_pieces_at_once(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three runs stacked, in two pieces of the data, are each as alone in one; with dropout's masks of each."""
    words = (*CLOUDS, "model.depth=3", "model.width=4", "normalization=layer", "regularizer=[l2,dropout]")
    members, x, y = made(words, (0, 1, 2))
    alone = [MinimizedLosses([one]).at(x, y, mode=mode) for one in members]
    together = MinimizedLosses(members).at(x, y, mode=mode)
    v = torch.randn(3, together.theta.shape[1], generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    pairs = list(zip(alone, v, strict=True))
    torch.testing.assert_close(together.losses(), torch.cat([one.losses() for one in alone]))
    torch.testing.assert_close(together.hessian().matvec(v), torch.stack([a.hessian().matvec(u) for a, u in pairs]))
    products = torch.stack([a.gauss_newton().matvec(u) for a, u in pairs])
    torch.testing.assert_close(together.gauss_newton().matvec(v), products)
    monkeypatch.setattr("fanin.train.minimized_loss.CHUNK", 9)
    pieces = MinimizedLosses(members).at(x, y, mode=mode)
    assert len(pieces.pieces) == 2
    every = pieces.hessian().matvec(v)
    for runs in ([2, 0], [1]):  # some of them, in the same pieces
        torch.testing.assert_close(pieces.hessian().only(runs).matvec(v[runs]), every[runs])
    if mode == "evaluation":
        torch.testing.assert_close(pieces.hessian().matvec(v), together.hessian().matvec(v))
        torch.testing.assert_close(pieces.gradient(), together.gradient())
