"""Preprocessing: what the training part becomes, that no other part decides, and pixels that never change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import sklearn.decomposition
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fanin.errors import OptionError, UserError
from fanin.parts.data import Dataset, Digits
from fanin.parts.preprocess import Center, MinMax, NoPreprocess, PcaWhiten, Preprocess, Standardize, ZcaWhiten

ALL = [Center(), MinMax(), Standardize(), Standardize(per="channel"), PcaWhiten(), ZcaWhiten()]
EACH = pytest.mark.parametrize("option", ALL, ids=repr)
SEEDS = st.integers(0, 2**31)


def draw(seed: int, rows: int = 60, shape: tuple[int, ...] = (2, 3, 2), flat: int = 0) -> Dataset:
    """Correlated inputs far from 0, of which `flat` entries never change in the training part."""
    random = torch.Generator().manual_seed(seed)
    features = int(np.prod(shape))
    mix = torch.randn(features, features, generator=random) + 2 * torch.eye(features)
    x = torch.randn(rows + 30, features, generator=random) @ mix + 5 * torch.randn(features, generator=random)
    x[:rows, :flat] = 0.3
    x, y = x.view(-1, *shape), torch.arange(rows + 30) % 3
    parts = torch.split(x, [rows, 10, 20])
    labels = torch.split(y, [rows, 10, 20])
    return Dataset("boxes", 3, parts[0], labels[0], parts[1], labels[1], parts[2], labels[2])


def table(x: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return x.flatten(1).double().numpy()


def covariance(x: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.asarray(np.cov(table(x), rowvar=False))


@EACH
@settings(max_examples=5, deadline=None)
@given(seed=SEEDS)
def test_other_parts_are_mapped_and_decide_nothing(option: Preprocess, seed: int) -> None:
    """The map is of each example alone: an example of the training part becomes the same wherever it stands."""
    data = draw(seed)
    moved = replace(data, val_x=data.train_x[:7], test_x=torch.cat([data.train_x[7:9], 1000 + data.test_x]))
    first, second = option(data), option(moved)
    assert torch.equal(first.train_x, second.train_x)
    torch.testing.assert_close(second.val_x, first.train_x[:7])  # products of matrices of another height: float32
    torch.testing.assert_close(second.test_x[:2], first.train_x[7:9])
    assert second.test_x[2:].abs().mean() > 5 * first.test_x.abs().mean()  # a shifted test part stays shifted
    assert torch.equal(second.test_y, data.test_y)
    assert second.train_x.dtype == torch.float32


@EACH
def test_shapes_and_an_empty_validation_part(option: Preprocess) -> None:
    data = draw(0)
    made = option(replace(data, val_x=data.val_x[:0], val_y=data.val_y[:0]))
    shape = (12,) if type(option) is PcaWhiten else (2, 3, 2)
    assert made.input_shape == shape
    assert (made.val_x.shape, made.test_x.shape) == ((0, *shape), (20, *shape))


def test_more_examples_than_are_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [option(draw(1, rows=61)) for option in ALL]
    monkeypatch.setattr("fanin.parts.preprocess.ROWS", 7)
    for option, expected in zip(ALL, whole, strict=True):
        # sums in another order, in float64: the float32 results differ by one rounding at most
        torch.testing.assert_close(option(draw(1, rows=61)).train_x, expected.train_x, rtol=1e-6, atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, flat=st.integers(0, 5))
def test_center_and_standardize(seed: int, flat: int) -> None:
    data = draw(seed, flat=flat)
    x = table(data.train_x)
    centered, standard = table(Center()(data).train_x), table(Standardize()(data).train_x)
    # float32 of values up to 50: 3e-6
    np.testing.assert_allclose(centered, x - x.mean(0), atol=3e-6)
    np.testing.assert_allclose(standard.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(standard[:, flat:].std(0), 1, atol=1e-6)
    assert (standard[:, :flat] == 0).all()
    # an entry without variance in training is not divided in the test part either
    shift = table(data.test_x)[:, :flat] - x[0, :flat]
    np.testing.assert_allclose(table(Standardize()(data).test_x)[:, :flat], shift, atol=3e-6)


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, shape=st.sampled_from([(2, 3, 2), (3, 4), (1, 2, 5)]))
def test_standardize_per_channel(seed: int, shape: tuple[int, ...]) -> None:
    data = draw(seed, shape=shape)
    made = Standardize(per="channel")(data)
    for channel in range(shape[0]):
        own, was = made.train_x[:, channel].double(), data.train_x[:, channel].double()
        assert abs(float(own.mean())) < 1e-6
        assert abs(float(own.var(correction=0)) - 1) < 1e-5
        test = (data.test_x[:, channel].double() - was.mean()) / was.std(correction=0)
        torch.testing.assert_close(made.test_x[:, channel].double(), test, rtol=1e-5, atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, flat=st.integers(0, 3), low=st.floats(-5, 5), width=st.floats(0.1, 10))
def test_minmax_range(seed: int, flat: int, low: float, width: float) -> None:
    data = draw(seed, flat=flat)
    made = table(MinMax(low=low, high=low + width)(data).train_x)
    np.testing.assert_allclose(made.min(0), low, atol=1e-5)
    np.testing.assert_allclose(made[:, flat:].max(0), low + width, atol=1e-5)
    # order and proportions within a feature stay
    x = table(data.train_x)[:, -1]
    np.testing.assert_allclose(made[:, -1], low + width * (x - x.min()) / (x.max() - x.min()), atol=1e-5)


@pytest.mark.parametrize("kind", [PcaWhiten, ZcaWhiten])
@settings(max_examples=8, deadline=None)
@given(seed=SEEDS)
def test_whitened_covariance_is_the_identity(kind: type[PcaWhiten], seed: int) -> None:
    made = kind(eps=0)(draw(seed, rows=100))
    # float32 of values up to 10: 1e-6 each, and twice that in a mean of products
    np.testing.assert_allclose(covariance(made.train_x), np.eye(12), atol=1e-5)
    np.testing.assert_allclose(table(made.train_x).mean(0), 0, atol=1e-5)


def test_pca_is_scikit_learns() -> None:
    data = draw(3)
    theirs = sklearn.decomposition.PCA(4, whiten=True, svd_solver="full").fit(table(data.train_x))
    made = PcaWhiten(components=4, eps=0)(data)
    for x, raw in ((made.train_x, data.train_x), (made.test_x, data.test_x)):
        np.testing.assert_allclose(table(x), theirs.transform(table(raw)), atol=1e-5)


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS, eps=st.floats(1e-6, 0.1))
def test_eps_leaves_small_variances_small(seed: int, eps: float) -> None:
    data = draw(seed, rows=100)
    variances = np.linalg.eigvalsh(covariance(data.train_x))[::-1]
    shrunk = variances / (variances + eps * variances[0])
    np.testing.assert_allclose(covariance(PcaWhiten(eps=eps)(data).train_x), np.diag(shrunk), atol=1e-5)
    np.testing.assert_allclose(
        np.linalg.eigvalsh(covariance(ZcaWhiten(eps=eps)(data).train_x))[::-1], shrunk, atol=1e-5
    )


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS)
def test_zca_is_the_symmetric_matrix_that_changes_least(seed: int) -> None:
    data = draw(seed, rows=100)
    x, made = table(data.train_x), table(ZcaWhiten(eps=0)(data).train_x)
    centered, spread = x - x.mean(0), covariance(data.train_x)
    matrix = np.linalg.lstsq(centered, made, rcond=None)[0]  # what was applied, read off
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-5)
    np.testing.assert_allclose(matrix, scipy.linalg.inv(scipy.linalg.sqrtm(spread)), atol=1e-4)
    # mean square change of all whitening maps Q Sigma^(-1/2): tr Sigma + d - 2 tr(Q Sigma^(1/2)), least at Q = I
    change = ((made - centered) ** 2).sum() / (len(x) - 1)
    assert change == pytest.approx(np.trace(spread) + 12 - 2 * np.trace(scipy.linalg.sqrtm(spread)), rel=1e-4)
    for turn in scipy.stats.ortho_group.rvs(12, size=20, random_state=seed % 2**31):
        assert ((made @ turn - centered) ** 2).sum() / (len(x) - 1) > change


@pytest.mark.parametrize("kind", [PcaWhiten, ZcaWhiten])
def test_whitening_of_what_does_not_fill_its_space(kind: type[PcaWhiten]) -> None:
    """8 x 8 digits shown as 28 x 28: 784 pixels that span 61 dimensions, for 3 of the 64 are always 0."""
    data = Digits().load()
    assert (Digits(image_size=8).load().train_x.flatten(1).std(0) > 0).sum() == 61
    made = kind(eps=0)(data)
    assert made.input_shape == ((61,) if kind is PcaWhiten else (1, 28, 28))
    variances = np.linalg.eigvalsh(covariance(made.train_x))[::-1]
    # roundings of 6e-8 of values up to 30, in a mean of 1300 products
    np.testing.assert_allclose(variances[:61], 1, atol=1e-4)
    np.testing.assert_allclose(variances[61:], 0, atol=1e-4)
    # one of 1300 can lie (1300 - 1) / sqrt(1300) standard deviations off at most; the test part is not bound by that
    assert made.train_x.abs().max() < 36.1
    assert all(x.isfinite().all() for x in (made.val_x, made.test_x))
    worst, regular = (covariance(option(data).test_x).diagonal().max() for option in (PcaWhiten(eps=0), PcaWhiten()))
    assert worst > 3 * regular


@pytest.mark.parametrize("option", [Center(), MinMax(), Standardize(), Standardize(per="channel")], ids=repr)
def test_pixels_that_never_change_stay_finite(option: Preprocess) -> None:
    data = Digits(image_size=8).load()
    made = option(data)
    assert made.train_x.abs().max() < 36.1  # (1300 - 1) / sqrt(1300): the most that one of 1300 can lie off
    flat = data.train_x.std(0) == 0
    assert flat.sum() == 3
    for x, was in ((made.train_x, data.train_x), (made.val_x, data.val_x), (made.test_x, data.test_x)):
        assert x.isfinite().all()
        if option != Standardize(per="channel"):
            assert torch.equal(x[:, flat], was[:, flat])  # 0 in training, so there is nothing to shift


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS, rows=st.integers(2, 11))
def test_fewer_examples_than_features(seed: int, rows: int) -> None:
    data = draw(seed, rows=rows)
    made = PcaWhiten(eps=0)(data)
    assert made.input_shape == (rows - 1,)
    np.testing.assert_allclose(np.atleast_2d(covariance(made.train_x)), np.eye(rows - 1), atol=1e-4)


def test_none_gives_the_data_set_itself() -> None:
    data = draw(0)
    assert NoPreprocess()(data) is data
    assert (NoPreprocess.neutral, *(option.neutral for option in ALL)) == (True, *[False] * 6)


def same(rows: int) -> Dataset:
    data = draw(0)
    return replace(data, train_x=data.train_x[:1].expand(rows, 2, 3, 2), train_y=data.train_y[:rows])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MinMax(low=1, high=1), "high=1: must be a finite number > 1"),
        (lambda: Standardize(per="pixel"), "per=pixel: must be one of feature, channel"),
        (lambda: PcaWhiten(components=0), "components=0: must be null or an integer >= 1"),
        (lambda: ZcaWhiten(eps=-1), "eps=-1: must be a finite number >= 0"),
        (
            lambda: Standardize(per="channel")(draw(0, shape=(5,))),
            "per=channel: must be feature for boxes; its examples are vectors, without channels",
        ),
        (
            lambda: PcaWhiten(components=12)(draw(0, rows=10)),
            "components=12: must be at most 9, the rank of boxes's training examples",
        ),
        (
            lambda: ZcaWhiten()(same(5)),
            "preprocess: all training examples of boxes are equal; there is nothing to whiten",
        ),
        (lambda: PcaWhiten()(same(1)), "preprocess: whitening needs 2 training examples at least; boxes has one"),
    ],
)
def test_mistakes_give_one_line(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError) as caught:
        make()
    assert isinstance(caught.value, OptionError) == (not message.startswith("preprocess"))
    assert str(caught.value) == message


@pytest.mark.parametrize(("size", "told"), [(0.02, True), (0.05, False), (9.9, False), (10.5, True), (0.0, False)])
def test_inputs_far_from_size_1_are_told(size: float, told: bool) -> None:
    signs = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    parts = [signs * size, torch.zeros(2).long()] * 3
    notes = NoPreprocess()(Dataset("mine", 2, *parts, notes=("before",))).notes
    assert notes[0] == "before"
    assert [f"root mean square of the inputs is {size:.3g};" in note for note in notes[1:]] == [True] * told
