"""The autoencoder against principal components, its noise against its law, its loss against torch's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA

from fanin.errors import OptionError
from fanin.parts.activations import relu
from fanin.parts.losses import Elbo, Reconstruction
from fanin.parts.models import Autoencoder
from fanin.parts.models.autoencoder import Corruption


def test_the_best_linear_one_projects_on_the_principal_components() -> None:
    """Baldi & Hornik 1989: the loss of trained weights ends at half the variance that PCA leaves, and not below it."""
    x = torch.randn(60, 6, dtype=torch.float64) @ torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.3, 0.2, 0.1]).double())
    x = x - x.mean(0)
    model = Autoencoder(in_features=6, latent=2, depth=1, bias=False, activation=relu).double()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    loss, none = Reconstruction(reconstruction="gaussian"), torch.zeros(60, dtype=torch.int64)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=500, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss(model(x), none, x)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)
    left = PCA().fit(x).singular_values_[2:]
    best = 0.5 * float((left**2).sum()) / 60
    # every other critical point is a saddle; LBFGS ends within the square of its last gradient
    assert float(loss(model(x), none, x).detach()) == pytest.approx(best, rel=1e-6)


def test_the_loss_is_that_of_elbo_without_a_code() -> None:
    r, x, none = torch.randn(3, 5, 4), torch.rand(3, 5, 2, 2), torch.zeros(3, 5, dtype=torch.int64)
    for kind in ("bernoulli", "gaussian"):
        code = torch.cat([r, torch.zeros(3, 5, 2)], dim=-1)  # mu = 0, sigma = 1: no divergence
        ours, whole = Reconstruction(reconstruction=kind), Elbo(reconstruction=kind)
        torch.testing.assert_close(ours(r, none, x), whole(code, none, x))
        torch.testing.assert_close(ours.error(r, none, x), whole.error(code, none, x))
    each = torch.stack([F.mse_loss(s, t.flatten(1), reduction="sum") / (2 * 5) for s, t in zip(r, x, strict=True)])
    torch.testing.assert_close(Reconstruction(reconstruction="gaussian")(r, none, x), each)
    with pytest.raises(OptionError, match=r"reconstruction=bernoulli: must be gaussian for inputs outside of \[0, 1\]"):
        Reconstruction().check(torch.tensor([[1.5]]))


def test_noise_is_in_training_alone() -> None:
    x = torch.full((200, 500), 2.0)
    for kind, mean, variance in (("gaussian", 2.0, 0.09), ("mask", 2 * 0.7, 4 * 0.3 * 0.7)):
        module = Corruption(kind, 0.3)
        noisy = module(x)
        # of 100,000 draws: five standard errors of their mean and (for kurtosis 3 at most) of their variance
        assert float(noisy.mean()) == pytest.approx(mean, abs=5 * (variance / x.numel()) ** 0.5)
        assert float(noisy.var()) == pytest.approx(variance, rel=5 * (2 / x.numel()) ** 0.5)
        torch.testing.assert_close(module.eval()(x), x, rtol=0, atol=0)
    model = Autoencoder(in_features=4, noise=0.5, activation=relu)
    for weight in model.parameters():
        torch.nn.init.normal_(weight)
    same = torch.rand(3, 1, 2, 2)
    assert not torch.equal(model(same), model(same))
    torch.testing.assert_close(model.eval()(same), model(same), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"noise": -0.1}, "noise=-0.1: must be"),
        ({"noise": 1.0, "corruption": "mask"}, r"noise=1.0: must be"),
        ({"corruption": "salt"}, "corruption=salt: must be one of gaussian, mask"),
        ({"latent": 0}, "latent=0: must be an integer >= 1"),
    ],
)
def test_mistakes_are_one_line(keys: dict[str, float], line: str) -> None:
    with pytest.raises(OptionError, match=line):
        Autoencoder(in_features=4, activation=relu, **keys)  # type: ignore[arg-type]
