"""curvature.csv in pictures: what is drawn is what the file says, and the limit of stability where there is one."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from PIL import Image

from fanin.record.density_image import HEIGHT, Densities
from fanin.report.figures.curvature import density_panel, eigenvalues_panel, sharpness_panel
from fanin.report.read.curvature import Looks, edge_of_stability, read_curvature, verdict_words

ROWS = """step,layer,quantity,index,value
0,,sharpness,,2
10,,sharpness,,6
20,,sharpness,,nan
10,linear_1,sharpness,,99
0,,eigenvalue_largest,1,2
0,,eigenvalue_largest,2,1
0,,eigenvalue_smallest,1,-1
0,,density_at,1,-1
0,,density_at,2,1
0,,density,1,0.25
0,,density,2,0.75
x,,sharpness,,1
"""
CONFIG = {"optimizer": {"_target_": "fanin.parts.optimizers.SGD"}}


@pytest.fixture
def looks(tmp_path: Path) -> Looks:
    """Read from a file."""
    (tmp_path / "curvature.csv").write_text(ROWS)
    notes: list[str] = []
    found = read_curvature(tmp_path, notes)
    assert notes == ["curvature.csv: 1 rows could not be read"]
    return found


def test_what_is_drawn_is_what_the_file_says(looks: Looks) -> None:
    """Numbers of layers and what is nan stay out of the lines; the dashed one is 2/lr at each rate."""
    sharp, ends, dense = Figure().subplots(1, 3)
    sharpness_panel(sharp, looks, CONFIG, (np.array([1.0, 20.0]), np.array([0.5, 0.25])))
    drawn = {str(line.get_label()): line.get_xydata().tolist() for line in sharp.get_lines()}
    assert drawn == {"sharpness": [[0, 2], [10, 6]], "2/lr": [[1, 4], [20, 8]]}
    eigenvalues_panel(ends, looks)
    assert [line.get_xydata().tolist() for line in ends.get_lines()[:3]] == [[[0, 2]], [[0, 1]], [[0, -1]]]
    density_panel(dense, looks.densities[""])
    (mesh,) = [one for one in dense.collections if isinstance(one, QuadMesh)]
    shades = np.asarray(mesh.get_array()).ravel()
    assert (shades[0], shades[-1]) == (pytest.approx(np.log10(0.25 / 0.75)), 0)


def test_a_limit_far_above_is_told_and_not_drawn(looks: Looks) -> None:
    axes = Figure().subplots()
    sharpness_panel(axes, looks, CONFIG, (np.array([1.0]), np.array([0.001])))
    assert [str(line.get_label()) for line in axes.get_lines()] == ["sharpness", "2/lr = 2e+03, far above"]
    assert axes.get_ylim()[1] < 10


def test_only_gradient_descent_has_a_limit() -> None:
    rates = np.array([0.1])
    heavy = {"optimizer": {"_target_": "fanin.parts.optimizers.Momentum", "momentum": 0.9}}
    limit, words = edge_of_stability(heavy, rates) or (rates, "")
    assert (float(limit[0]), words) == (pytest.approx(38), "(2 + 2 momentum)/lr")
    for target, more in (("torch.optim.SGD", {"nesterov": True}), ("torch.optim.Adam", {}), ("my.SGD.other", {})):
        assert edge_of_stability({"optimizer": {"_target_": target, **more}}, rates) is None
    assert edge_of_stability({}, rates) is None
    assert verdict_words({"verdict": "plateau"}) == "plateau"


def test_the_image_is_darkest_where_the_density_is_highest() -> None:
    """A column for each look, in the order of steps, the eigenvalues upwards."""
    seen = Densities()
    for step, peak in ((10, 2), (0, 5)):
        numbers = [("density_at", place, float(place)) for place in range(1, 7)]
        numbers += [("density", place, 1.0 if place == peak else 0.0) for place in range(1, 7)]
        assert seen.add(step, [*numbers, ("sharpness", None, 3.0)]) == ["density"]
    picture = seen.image("density")
    assert picture is not None
    grey = np.asarray(Image.open(io.BytesIO(picture.png)))
    assert grey.shape == (HEIGHT, picture.width)
    for column, peak in ((0, 5), (-1, 2)):  # eigenvalue 1 in the lowest row, 6 in the highest
        assert np.argmin(grey[:, column]) == pytest.approx((HEIGHT - 1) * (1 - (peak - 1) / 5), abs=1)
    assert seen.image("gauss_newton_density") is None
    seen.add(0, [("density", 1, float("nan"))])
    assert seen.image("density") is not None  # the other look is there
