"""`fanin-theory`: what the real command says, against numbers that are known and runs of the same recipe."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scipy.special import digamma

from command_line import Said, end, start

SCALED = "initializer=variance_scaling"


def theory(folder: Path, *arguments: str, **more: Any) -> Said:
    return end(start(folder, *arguments, module="fanin.cli.theory", **more))


def numbers(folder: Path, *arguments: str) -> dict[str, Any]:
    said = theory(folder, *arguments, "--json")
    assert said.code == 0, said.err
    found: dict[str, Any] = json.loads("\n".join(said.out))
    return found


def test_numbers_of_tanh(tmp_path: Path) -> None:
    found = numbers(tmp_path, "model.depth=50", "activation=tanh", SCALED, "initializer.c=1.5")
    assert found["activation"]["mean_square"] == pytest.approx(0.394294, abs=1e-6)
    assert found["activation"]["derivative_mean_square"] == pytest.approx(0.464403, abs=1e-6)
    assert found["activation"]["gain"] == pytest.approx(0.394294**-0.5, abs=1e-5)
    assert found["point"]["phase"] == "chaotic"
    assert found["point"]["variance"] == pytest.approx(1.5)
    assert found["critical"]["variance"] == pytest.approx(1.0)
    layers = found["layers"]
    assert [layer["index"] for layer in layers] == [*range(1, 51)]
    assert layers[0]["name"] == "linear_1"
    for layer in layers:
        assert layer["q025"] < layer["q16"] < layer["median"] < layer["q84"] < layer["q975"]
    settled = layers[30]["mean_square"] ** 2 / 100  # E tanh^2 at the fixed point, up to 1/n of it
    q = found["point"]["q"]
    assert settled == pytest.approx(q / 1.5, rel=0.03)
    assert layers[-1]["gradient_median"] == 1.0


def test_relu_by_hand(tmp_path: Path) -> None:
    """||x_l||^2 on average (n_l / n_0) ||x_0||^2 at c = 2: the mean square line is flat over equal widths."""
    found = numbers(tmp_path, "model.depth=6", "model.width=64", SCALED, "initializer.c=2")
    squares = [layer["mean_square"] for layer in found["layers"][:-1]]
    assert squares == pytest.approx([squares[0]] * 5, rel=1e-6)
    assert found["point"]["chi_perp"] == pytest.approx(1)
    assert found["point"]["phase"] == "critical"
    assert found["point"]["xi_c"] is None  # without bound
    assert (found["critical"]["variance"], found["critical"]["chi_par"]) == pytest.approx((2, 1))


def test_a_deep_linear_network_is_a_chain(tmp_path: Path) -> None:
    """Squared norms grow by v = 1.5 a layer on average; of the logarithm a layer takes psi(n/2) + ln 2 - ln n away."""
    found = numbers(tmp_path, "activation=identity", "model.depth=4", "model.width=64", SCALED, "initializer.c=1.5")
    assert found["law"]["source"] == "exact law"
    assert (found["point"]["chi_perp"], found["critical"]["variance"]) == pytest.approx((1.5, 1))
    first, second = found["layers"][:2]
    assert (second["mean_square"] / first["mean_square"]) ** 2 == pytest.approx(1.5)
    typical = 1.5 * math.exp(digamma(32) + math.log(2 / 64))
    assert (second["median"] / first["median"]) ** 2 == pytest.approx(typical, rel=1e-3)


def test_no_critical_variance(tmp_path: Path) -> None:
    critical = numbers(tmp_path, "model.depth=3", "activation=softplus")["critical"]
    assert critical["variance"] is None
    assert "lengths grow" in critical["why"]


def test_a_function_of_ones_own_has_its_own_theory(tmp_path: Path) -> None:
    """A function that happens to be called relu, but is 3 z: E f^2 = E f'^2 = 9, critical at 1/9."""
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n\nclass Tripled(nn.Module):\n    def forward(self, z):\n        return 3 * z\n\n"
        "def relu() -> nn.Module:\n    return Tripled()\n"
    )
    found = numbers(tmp_path, "activation._target_=mine.relu", "model.depth=4", SCALED, "initializer.c=0.2")
    assert found["activation"]["mean_square"] == pytest.approx(9)
    assert found["critical"]["variance"] == pytest.approx(1 / 9)
    assert found["point"]["chi_perp"] == pytest.approx(1.8)


def test_the_bias_variance_of_the_initializer_counts(tmp_path: Path) -> None:
    typed = ("activation=tanh", "model.depth=4", SCALED, "initializer.c=1.76095", "initializer.bias_variance=0.05")
    point = numbers(tmp_path, *typed)["point"]
    assert point["bias_variance"] == 0.05
    assert (point["q"], point["chi_perp"]) == pytest.approx((0.57005, 1), abs=1e-4)


def test_the_tables(tmp_path: Path) -> None:
    said = theory(tmp_path, "model.depth=40", "activation=tanh", SCALED, "initializer.c=0.5", COLUMNS="80")
    text = "\n".join(said.out)
    assert said.code == 0, said.err
    assert "ordered" in text
    assert "linear_40" in text
    assert "dL/dz falls below its range after" in text
    assert max(map(len, said.out)) <= 80


@pytest.mark.slow
def test_the_figure(tmp_path: Path) -> None:
    said = theory(tmp_path, "model.depth=5", "activation=tanh", SCALED, "--figure", "phase.svg", figures=True)
    assert said.code == 0, said.err
    drawn = (tmp_path / "phase.svg").read_text()
    assert "<!-- critical: chi_perp = 1 -->" in drawn
    assert "<!-- this recipe: chaotic -->" in drawn  # variance 2, and tanh is critical at 1


def test_any_recipe_has_the_law_of_its_parts(tmp_path: Path) -> None:
    """Layer normalization sets every norm to sqrt(B n), and ReLU keeps half of its square."""
    found = numbers(tmp_path, "normalization=layer", "model.depth=4", "model.width=200", "initializer=orthogonal")
    assert found["law"]["source"] == "mean field"
    assert found["law"]["why"] is None
    assert found["point"]["chi_par"] == 0
    for layer in found["layers"][:-1]:
        assert layer["mean_square"] == pytest.approx((100 * 200 / 2) ** 0.5, rel=1e-3)
        assert layer["q025"] < layer["median"] < layer["q975"]
        assert layer["gradient_median"] > 0


def test_where_the_law_ends_is_told(tmp_path: Path) -> None:
    said = theory(tmp_path, "model=rnn", COLUMNS="120")
    assert said.code == 0, said.err
    assert any("the law ends at layers.1.states" in line for line in said.out)


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("lr=1", "fanin-theory: unknown key lr"),
        ("--figure=x.bmp", "fanin-theory: --figure x.bmp: must end in .png, .svg or .pdf"),
        ("--figure=nowhere/x.png", "fanin-theory: --figure: No such file or directory"),
        ("--nope", "fanin-theory: unrecognized arguments: --nope"),
        ("--config-dir=nowhere", "fanin-theory: --config-dir nowhere: must be a folder"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, typed: str, line: str) -> None:
    said = theory(tmp_path, typed, "model.depth=3")
    assert said.code == 1
    assert len(said.err) == 1
    assert said.err[0].startswith(line)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_torchvision_is_not_imported(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv[1:] = ['model.depth=3', '--json']; from fanin.cli.theory import main; main(); "
        "print(sorted({'torchvision', 'matplotlib', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]"
