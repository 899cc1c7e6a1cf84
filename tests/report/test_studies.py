"""Studies: claims on run folders written by hand, of known numbers, and the files of the report that shows them."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.integrate import quad
from scipy.stats import norm

from command_line import end, read, runs, start
from fanin.parts.data import Digits
from fanin.report import claim as judging
from fanin.report.figures.style import Sheet, look
from fanin.report.make import write_report
from fanin.report.read.configurations import group_runs
from fanin.report.read.folders import find_runs, read_runs
from fanin.report.read.series import Metrics, Profiles
from fanin.report.studies import BEFORE, activation, load_study, normalization, preprocessing, study_of
from fanin.report.studies.base import Claim, Evidence, Study, spread
from fanin.report.studies.gradients import gradient_factor, growth_slack
from fanin.report.studies.normalization.arms import GROWS
from fanin.report.studies.normalization.figure import normalization_figure
from fanin.report.studies.preprocessing.curvature import largest_curvature
from fanin.report.studies.preprocessing.figure import preprocessing_figure
from fanin.report.studies.tuning import best_runs, best_value
from fanin.report.write.page import Report

METRICS = "step,epoch,lr,batch_loss,batch_error,train_loss,train_error,val_loss,val_error,test_loss,test_error,seconds"
PROFILES = "snapshot,axis,index,layer,quantity,value,theory,band_low,band_high"
GUESS = math.log(10)


def write(path: Path, header: str, rows: Sequence[Sequence[object]]) -> None:
    """A CSV file."""
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header.split(","), *rows])


def run(
    grid: Path,
    overrides: Mapping[str, Any],
    *,
    state: str = "done",
    outcome: str = "learns",
    losses: Sequence[float] = (),
    profiles: Mapping[tuple[str, str], Sequence[float]] | None = None,
    choices: Mapping[str, str] | None = None,
    **metrics: float | str | None,
) -> Path:
    """A run's folder: its overrides, final metrics, losses from step 1 on, and profiles over weight layers.

    Args:
        grid: the folder of the experiment, named as it.
        overrides: by key, seed included.
        state, outcome: of result.json; running and failed runs have none.
        losses: batch_loss of metrics.csv.
        profiles: values by (snapshot, quantity).
        choices: Hydra's choices of groups that no override says.
        metrics: final ones; "gradient_first" and its like go to the measurements at init.
    """
    folder = grid / ",".join(f"{key}={value}" for key, value in overrides.items())
    (folder / ".hydra").mkdir(parents=True)
    lines = "".join(f"      {group}: {option}\n" for group, option in (choices or {}).items())
    (folder / ".hydra" / "hydra.yaml").write_text(f"hydra:\n  runtime:\n    choices:\n      data: digits\n{lines}")
    (folder / ".hydra" / "config.yaml").write_text(f"seed: {overrides['seed']}\nmodel:\n  depth: 24\n  width: 100\n")
    (folder / "status.json").write_text(json.dumps({"state": state, "step": len(losses), "steps": 200}))
    write(
        folder / "metrics.csv", METRICS, [[i, 0, 0, x, "", "", "", "", "", "", "", 0] for i, x in enumerate(losses, 1)]
    )
    rows = [
        [snapshot, "weight", i, f"linear_{i}", quantity, value, "", "", ""]
        for (snapshot, quantity), values in (profiles or {}).items()
        for i, value in enumerate(values, 1)
    ]
    write(folder / "profiles.csv", PROFILES, rows)
    init = {name: value for name, value in metrics.items() if name.startswith("gradient_")}
    result = {
        "run": folder.name, "experiment": grid.name, "state": state, "outcome": outcome, "overrides": overrides,
        "metrics": {name: value for name, value in metrics.items() if name not in init}, "init": init,
        "diverged": {"step": len(losses), "layer": "loss"} if state == "diverged" else None,
    }  # fmt: skip
    if state in ("done", "diverged"):
        (folder / "result.json").write_text(json.dumps(result))
    return folder


def evidence_of(grid: Path) -> Evidence:
    """The runs below a folder, as the report reads them."""
    runs = read_runs(find_runs([grid]), grid)
    return Evidence(runs, group_runs(runs), Profiles(runs), Metrics(runs))


def verdicts(claims: Sequence[Claim]) -> list[bool | None]:
    """Of each claim."""
    return [claim.holds for claim in claims]


def claim(claims: Sequence[Claim], words: str) -> Claim:
    """The claim that says so."""
    (one,) = (claim for claim in claims if words in claim.text)
    return one


def judged(module: ModuleType, evidence: Evidence) -> list[Claim]:
    """What the study of a module claims."""
    (study,) = (one for one in vars(module).values() if isinstance(one, type) and Study in one.__bases__)
    return list(study().claims(evidence))


# Quadratics of known curvatures: loss 0.3 + sum_i h_i e_i^2 / 2, whose errors e_i a step multiplies by 1 - a h_i.
CURVATURES = {
    "none": (240.0, 12.0, 1.0), "minmax": (250.0, 12.0, 1.0), "center": (11.0, 10.0, 1.0),
    "standardize": (220.0, 180.0, 20.0), "pca_whiten": (2.0, 2.0, 2.0), "zca_whiten": (2.0, 2.0, 2.0),
}  # fmt: skip
RATES = (0.003, 0.03, 0.3, 3)


def descent(curvatures: Sequence[float], rate: float, seed: int, steps: int = 200) -> list[float]:
    """The losses of gradient descent from step 1 on, up to the first that is not finite in float32."""
    h, errors = np.array(curvatures), np.array([1.0, 0.9, 1.1]) * (1 + 0.01 * seed)
    losses = []
    for step in range(steps):
        loss = 0.3 + 0.5 * float(h @ (errors * (1 - rate * h) ** step) ** 2)
        losses.append(loss if loss < 3e38 else math.inf)
        if math.isinf(losses[-1]):
            break
    return losses


def quadratics(grid: Path, options: Sequence[str] = tuple(CURVATURES), seeds: Sequence[int] = (0,)) -> Path:
    """The runs of preprocessing_study as theory has them."""
    for option in options:
        for rate in RATES:
            for seed in seeds:
                losses = descent(CURVATURES[option], rate, seed)
                state = "diverged" if math.isinf(losses[-1]) else "done"
                run(
                    grid, {"preprocess": option, "optimizer.lr": rate, "seed": seed}, state=state, losses=losses,
                    choices={"loss": "squared"}, train_loss=str(losses[-1]) if state == "diverged" else losses[-1],
                    outcome="diverged" if state == "diverged" else "learns",
                )  # fmt: skip
    return grid


SMALL = ("data.image_size=8", "data.limit=300", "seed=0", "trainer.steps=60", "trainer.checkpoint_every=0")


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The preprocessing study on 300 small digits, run and reported on by the real command, and what it printed."""
    place = tmp_path_factory.mktemp("studies")
    typed = ("experiment=preprocessing_study", *SMALL, "hydra/launcher=fused")
    said = end(start(place, *typed, figures=True, COLUMNS="120"))
    assert said.code == 0
    return place / "outputs" / "preprocessing_study", "\n".join(said.out)


@pytest.fixture(scope="module")
def curvatures() -> dict[str, float]:
    """The largest eigenvalue of 2 E[x x^T], x with a 1 for the bias, of raw and of centred digits."""
    data = Digits(image_size=8, limit=300, val_size=0).load()
    raw = np.asarray(data.train_x.flatten(1), float)

    def largest(x: np.ndarray) -> float:
        x = np.column_stack([x, np.ones(len(x))])
        return 2 * float(np.linalg.eigvalsh(x.T @ x / len(x))[-1])

    return {"none": largest(raw), "center": largest(raw - raw.mean(0))}


def test_experiments_name_their_studies() -> None:
    """Those that runs were recorded of before experiments named theirs are the same ones."""
    named = {}
    for path in (Path(__file__).parents[2] / "conf" / "experiment").glob("*.yaml"):
        study = load_study(yaml.safe_load(path.read_text()).get("study"))
        if study is not None:
            named[path.stem] = type(study)
    before = {name: type(study_of(name, [SimpleNamespace(folder=Path("none"), config=SimpleNamespace(config={}))]))  # type: ignore[list-item]
              for name in BEFORE}  # fmt: skip
    assert before.items() <= named.items()
    assert len(before) == 7


def test_claims_stand_in_every_file_of_the_report(reported: tuple[Path, str], curvatures: dict[str, float]) -> None:
    grid, printed = reported
    with (grid / "report" / "claims.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [list(row)[:4] for row in rows] == [["experiment", "verdict", "claim", "evidence"]] * 6
    assert {row["experiment"] for row in rows} == {"preprocessing_study"}
    assert {row["verdict"] for row in rows} == {"holds"}
    assert rows[2]["evidence"].startswith(f"h1 = {curvatures['none']:.3g}")
    markdown = (grid / "report" / "table.md").read_text()
    page = (grid / "report" / "index.html").read_text()
    flat = " ".join(printed.split())
    for row in rows:
        assert f"- claim **holds**: {row['claim']} ({row['evidence']})" in markdown
        assert f"claim holds: {row['claim']} ({row['evidence']})" in flat
        assert row["claim"] in page
        assert f"({row['evidence']})" in page
    assert page.index('"preprocessing_study figure"') < page.index("<h2>Claims</h2>") < page.index('"curves figure"')
    assert "preprocessing_study.png" in printed


def test_the_table_has_the_study_s_columns(reported: tuple[Path, str]) -> None:
    grid, printed = reported
    lines = (grid / "report" / "table.md").read_text().splitlines()
    header, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    assert header == ["configuration", "seeds", "training loss", "test loss", "outcome"]
    by_label = {row[0]: row for row in rows[:24]}
    assert [len(row) for row in by_label.values()] == [5] * 24
    results = {name: read(run / "result.json") for name, run in runs(grid).items()}
    (lost,) = (one for name, one in results.items() if "optimizer.lr=3,preprocess=none" in name)
    assert by_label["lr=3, preprocess=none"][1:3] == ["1", "1 not finite"]
    assert by_label["lr=3, preprocess=none"][4] == f"diverged at step {lost['diverged']['step']} (loss)"
    (kept,) = (one for name, one in results.items() if "optimizer.lr=0.003,preprocess=center" in name)
    told = [f"{kept['metrics'][name]:.3g}" for name in ("train_loss", "test_loss")]
    assert by_label["lr=0.003, preprocess=center"][1:4] == ["1", *told]
    assert "factor" not in "".join(lines)
    assert "Factors and gradient norms" not in (grid / "report" / "index.html").read_text()
    assert "lr=3, preprocess=none" in printed


def test_figures_are_the_study_s_own(reported: tuple[Path, str]) -> None:
    report = reported[0] / "report"
    names = {path.name for path in report.glob("*.png")}
    assert {"preprocessing_study.png", "curves.png"} <= names
    assert "study.png" not in names
    assert (report / "preprocessing_study.png").read_bytes()[:4] == b"\x89PNG"
    assert "<svg" in (report / "preprocessing_study.svg").read_text()


def test_curvatures_are_those_of_the_inputs(reported: tuple[Path, str], curvatures: dict[str, float]) -> None:
    """A loss that diverges grows by (a h1 - 1)^2 a step, but for directions that it outgrows: h1 from below.

    Losses are float32: shares of 1e-7 of them, and of the growth over a few steps as well.
    """
    evidence = evidence_of(reported[0])
    for option, largest in curvatures.items():
        measured = largest_curvature(evidence, option)
        assert measured is not None
        assert 1 - 1e-3 < measured / largest < 1 + 1e-5
    # Whitened inputs have variance 1 or less, and the bias curvature 2.
    for option in ("pca_whiten", "zca_whiten"):
        assert largest_curvature(evidence, option) == pytest.approx(2, rel=1e-2)


def test_the_preprocessing_figure_shows_rates_that_diverge(
    reported: tuple[Path, str], curvatures: dict[str, float]
) -> None:
    left, right = panels(preprocessing_figure, evidence_of(reported[0]))
    crosses = [line for line in right.get_lines() if line.get_marker() == "X"]
    lost = [run for run in runs(reported[0]).values() if read(run / "result.json")["state"] == "diverged"]
    assert len(crosses) == len(lost) == 9
    limits = sorted(float(line.get_xdata()[0]) for line in right.get_lines() if line.get_linestyle() == "--")  # type: ignore[index]
    assert len(limits) == 6
    assert limits[1] == pytest.approx(2 / curvatures["none"], rel=1e-3)  # stretched ones are just below
    assert len([line for line in left.get_lines() if line.get_linewidth() > 1]) == 6


def panels(draw: Callable[[Sheet, Evidence], Figure | None], evidence: Evidence) -> list[Axes]:
    """The panels of a study's figure."""
    with look():
        figure = draw(Sheet("title", "setting", evidence.configurations), evidence)
        assert figure is not None
        figure.draw_without_rendering()
    return figure.axes


def test_preprocessing_claims_that_do_not_hold(tmp_path: Path) -> None:
    """Raw inputs with the curvatures of centred ones, centred ones with larger ones, and whitened ones with two."""
    grid = tmp_path / "preprocessing_study"
    worse = {
        "none": (11.0, 10.0, 9.0),
        "center": (11.5, 5.0, 0.01),
        "minmax": (5.0, 1.0, 1.0),
        "standardize": (11.0, 5.0, 0.01),
        "pca_whiten": (2.5, 0.01, 0),
        "zca_whiten": (2.0, 2.0, 2.0),
    }
    for option, curvatures in worse.items():
        for rate in RATES:
            losses = descent(curvatures, rate, 0)
            state = "diverged" if math.isinf(losses[-1]) else "done"
            # One run of centred inputs survives a rate above 2/h1.
            state = "done" if (option, rate) == ("center", 0.3) else state
            final = min(losses) * (1.02 if option == "zca_whiten" else 1)
            run(grid, {"preprocess": option, "optimizer.lr": rate, "seed": 0}, state=state, losses=losses,
                choices={"loss": "squared"}, train_loss=final)  # fmt: skip
    claims = judged(preprocessing, evidence_of(grid))
    assert verdicts(claims) == [False] * 6
    assert claims[1].evidence.startswith("23 of 24 runs")


def test_claims_without_their_runs_cannot_be_judged(tmp_path: Path) -> None:
    grid = quadratics(tmp_path / "preprocessing_study", ["center"], [0])
    claims = judged(preprocessing, evidence_of(grid))
    # Its own rates can still be held against its curvature.
    assert verdicts(claims) == [None, True, None, None, None, None]
    assert claims[0].verdict == "cannot be judged"
    others = ("none", "standardize", "pca_whiten", "zca_whiten")
    assert claims[0].evidence == f"no finished runs of {', '.join(f'preprocess={one}' for one in others)}"
    for module in (normalization, activation):
        foreign = judged(module, evidence_of(grid))
        assert foreign
        assert {one.holds for one in foreign if "center" not in one.text} == {None}


DEPTH = 24
GROWTH = math.sqrt(math.pi / (math.pi - 1))


def geometric(last: float, factor: float, depth: int = DEPTH) -> list[float]:
    """Norms that a layer multiplies by a factor, from the last one on."""
    return [last * factor ** (depth - layer) for layer in range(1, depth + 1)]


def normalized(grid: Path, factor: Mapping[str, float] | None = None, **errors: float) -> Path:
    """The runs of normalization_study: gradients by theory or `factor`, final errors by arm."""
    arms = {
        "none": ("none", "pre_activation", 1.0), "layer": ("layer", "pre_activation", 1.0),
        "batch": ("batch", "pre_activation", GROWTH), "layer_behind": ("layer", "post_activation", GROWTH),
        "batch_behind": ("batch", "post_activation", GROWTH),
    }  # fmt: skip
    for arm, (name, placement, theory) in arms.items():
        for c in (1, 3):
            for seed in (0, 1):
                key = {"normalization": name, "normalization.placement": placement, "initializer.c": c, "seed": seed}
                diverges = arm == "none" and c == 3
                error = errors.get(arm, {"none": 0.9, "layer": 0.1, "batch": 0.6}.get(arm, 0.85)) + seed / 100
                level = (1 if arm != "none" else c) ** 5
                profiles = {
                    ("init", "gradient_norm"): geometric(1 + seed, (factor or {}).get(arm, theory)),
                    # The last one is the output, which nothing normalizes.
                    ("init", "activation_norm"): [*np.linspace(5, 6, DEPTH - 1) * level, 7.0 * c],
                }
                run(
                    grid, key, state="diverged" if diverges else "done", losses=[GUESS, 2, math.nan if diverges else 1],
                    outcome="diverged" if diverges else "no progress" if arm == "none" else "learns", profiles=profiles,
                    choices={"activation": "relu"}, train_loss="nan" if diverges else GUESS, train_error=error,
                )  # fmt: skip
    return grid


def test_normalization_claims_hold_for_numbers_by_theory(tmp_path: Path) -> None:
    evidence = evidence_of(normalized(tmp_path / "normalization_study"))
    claims = judged(normalization, evidence)
    assert verdicts(claims) == [True] * 10
    assert claim(claims, "3/n diverges").evidence == "2 of 2 runs, at step 3"
    assert claim(claims, "layer normalization before ReLU it trains").evidence == "c=1: 10 to 11 %, c=3: 10 to 11 %"
    assert claim(claims, "behind ReLU, which").evidence == "training error 10 to 11 % before, 85 to 86 % behind"
    assert (
        claim(claims, "do not depend").evidence
        == "largest relative difference over layers 0, without normalization 2.4e+02"
    )
    assert claim(claims, "batch normalization behind ReLU: gradients").evidence.startswith("1.211 at init, 1.211 ±")
    gradient, first, second = panels(normalization_figure, evidence)
    assert [axes.get_title() or axes.texts[0].get_text() for axes in (first, second)]
    dashed = [line for line in gradient.get_lines() if line.get_linestyle() == "--"]
    assert [float(line.get_ydata()[0] / line.get_ydata()[1]) for line in dashed] == pytest.approx([1, *[GROWTH] * 3])  # type: ignore[index]


@pytest.mark.parametrize(
    ("arm", "factor", "words"),
    [
        ("batch", 1.0, "batch normalization before ReLU: gradients"),
        ("layer", GROWTH, "layer normalization before ReLU: gradients"),
        ("layer_behind", 1.0, "layer normalization behind ReLU: gradients"),
    ],
)
def test_gradients_against_theory_do_not_hold(tmp_path: Path, arm: str, factor: float, words: str) -> None:
    """The slack at width 100 over 15 layers, 3 sqrt(2) sqrt(0.05) / 2 / sqrt(15) = 0.12, is below ln 1.211 = 0.19."""
    claims = judged(normalization, evidence_of(normalized(tmp_path / "normalization_study", {arm: factor})))
    assert claim(claims, words).holds is False
    assert sum(one.holds is False for one in claims) == 1


def test_training_errors_decide(tmp_path: Path) -> None:
    claims = judged(normalization, evidence_of(normalized(tmp_path / "normalization_study", layer=0.43, batch=0.8)))
    assert claim(claims, "layer normalization before ReLU it trains").holds is True  # 43 and 44 %, guessing makes 90 %
    claims = judged(normalization, evidence_of(normalized(tmp_path / "more" / "normalization_study", layer=0.44)))
    assert claim(claims, "layer normalization before ReLU it trains").holds is False  # 45 % in one seed
    claims = judged(
        normalization, evidence_of(normalized(tmp_path / "last" / "normalization_study", layer_behind=0.05))
    )
    assert claim(claims, "behind ReLU, which").holds is False


def activated(grid: Path, factors: Mapping[str, float], **errors: float) -> Path:
    """The runs of activation_study with gradients of a constant factor; the first layer moves as its gradient says."""
    for option, factor in factors.items():
        for rate in (0.01, 0.1):
            diverges = option == "relu" and rate == 0.1
            norms = geometric(2.0, factor)
            profiles = {("init", "gradient_norm"): norms, ("final", "weight_movement"): norms,
                        ("init", "weight_variance"): [1.0] * DEPTH}  # fmt: skip
            run(
                grid, {"activation": option, "optimizer.lr": rate, "seed": 0}, profiles=profiles,
                state="diverged" if diverges else "done", losses=[GUESS, rate],
                outcome="diverged" if diverges else "no progress" if option == "sigmoid" else "learns",
                train_loss="nan" if diverges else rate, train_error=errors.get(option, 0.05) + rate / 10,
                gradient_first=norms[0], gradient_last=norms[-1],
            )  # fmt: skip
    return grid


def test_activation_claims(tmp_path: Path) -> None:
    factors = {"sigmoid": 0.24, "relu": 1.05, "tanh": 0.95}
    evidence = evidence_of(activated(tmp_path / "a" / "activation_study", factors, sigmoid=0.9))
    claims = judged(activation, evidence)
    assert verdicts(claims) == [True] * 7
    # 0.24^23 of 2
    assert claims[0].evidence == "factor a layer 0.24; gradient 1.1e-14 in the first layer, 2 in the last"
    assert claim(claims, "relu trains").evidence == "5.1 % at lr 0.01"
    assert len(panels(activation.activation_figure, evidence)) == 3
    factors = {"sigmoid": 0.3, "relu": 0.8, "tanh": 0.95}
    claims = judged(activation, evidence_of(activated(tmp_path / "b" / "activation_study", factors, tanh=0.12)))
    # 0.3 and 0.8 lie outside the slack of 20 steps, exp(0.106): 0.278 for sigmoid, 0.9 for the others.
    expected = {"divides": False, "relu keeps": False, "tanh keeps": True, "hardly move": True, "relu trains": True}
    assert {words: claim(claims, words).holds for words in expected} == expected
    assert claim(claims, "tanh trains").holds is False


def test_the_growth_under_normalization_is_an_integral() -> None:
    """1.211^2 = P(z > 0) / Var ReLU(z), z ~ N(0, 1), by quadrature."""
    first, second = (quad(lambda z, k=k: z**k * norm.pdf(z), 0, np.inf)[0] for k in (1, 2))
    assert pytest.approx(norm.sf(0) / (second - first**2), rel=1e-9) == GROWS**2


def test_the_slack_is_three_deviations_of_random_layers() -> None:
    """Norms through ReLU layers of 50 units, 4000 times: forward only, so without the factor sqrt(2).

    The deviation of 4000 draws is known to 1/sqrt(8000) = 1.1 %, and sqrt(5/n)/2 is the first order in 1/n: some 3 %.
    """
    random, n = np.random.default_rng(0), 50
    kept = random.binomial(n, 0.5, 4000)
    norms = 0.5 * np.log(2 / n * random.chisquare(kept))
    assert growth_slack(n, 1) / (3 * math.sqrt(2)) == pytest.approx(norms.std(), rel=0.06)
    assert growth_slack(n, 9) == pytest.approx(growth_slack(n, 1) / 3)


def test_the_gradient_factor_leaves_the_ends_out(tmp_path: Path) -> None:
    norms = [1e9, *geometric(1.0, 0.5, 10), 1e9]
    grid = tmp_path / "activation_study"
    run(grid, {"activation": "tanh", "seed": 0}, profiles={("init", "gradient_norm"): norms})
    run(grid, {"activation": "tanh", "seed": 1}, profiles={("init", "gradient_norm"): [1.0, 0.0, 2.0, 1.0]})
    run(grid, {"activation": "tanh", "seed": 2})
    evidence = evidence_of(grid)
    factors = [gradient_factor(evidence, one, 1) for one in evidence.runs_with({"activation": "tanh"})]
    assert factors == [pytest.approx(0.5), None, None]


@pytest.fixture
def mixed(tmp_path: Path) -> Evidence:
    """Runs in every state, with values typed in different ways."""
    grid = tmp_path / "some_study"
    run(grid, {"optimizer.lr": 1, "seed": 0}, train_loss=2.0, choices={"optimizer": "sgd"})
    run(
        grid,
        {"optimizer.lr": 0.1, "seed": 0},
        train_loss=1.0,
        losses=[3.0, math.nan, 1.0],
        choices={"optimizer": "sgd"},
    )
    run(grid, {"optimizer.lr": 0.1, "seed": 1}, state="diverged", train_loss="inf", choices={"optimizer": "sgd"})
    run(grid, {"optimizer.lr": 0.1, "seed": 2}, state="running", losses=[4.0], choices={"optimizer": "sgd"})
    run(grid, {"optimizer": "adam", "regularizer": ["l2", "dropout"], "seed": 0}, train_loss=None)
    return evidence_of(grid)


def test_evidence_finds_runs_by_what_a_user_types(mixed: Evidence) -> None:
    def names(choices: dict[str, Any], **more: bool) -> list[Any]:
        return [(one.value("optimizer.lr"), one.seed) for one in mixed.runs_with(choices, **more)]

    assert names({"optimizer": "sgd", "optimizer.lr": 0.1}) == [(0.1, 0), (0.1, 1)]
    assert names({"optimizer": "sgd", "optimizer.lr": 0.1}, ended=False) == [(0.1, 0), (0.1, 1), (0.1, 2)]
    assert names({"optimizer.lr": 1.0}) == [(1, 0)]
    assert names({"regularizer": ["l2", "dropout"]}) == [(None, 0)]
    assert names({"optimizer": "lion"}) == []
    assert len(mixed.runs_with({}, ended=False)) == len(mixed.runs) == 5
    assert sorted(mixed.metric("train_loss", {"optimizer": "sgd"})) == [1, 2, math.inf]
    assert mixed.metric("train_loss", {"optimizer": "adam"}) == []
    (one,) = mixed.runs_with({"optimizer.lr": 0.1, "seed": 0})
    steps, losses = mixed.curve(one, "batch_loss")
    assert (steps.tolist(), losses.tolist()) == ([1, 3], [3, 1])
    assert mixed.curve(one, "val_loss")[0].size == mixed.profile(one, "init", "weight", "gradient_norm").size == 0
    assert sorted(map(str, mixed.values("optimizer.lr"))) == ["0.1", "1", "None"]


def test_the_best_value_has_no_run_that_diverged(mixed: Evidence) -> None:
    assert best_value(mixed, {"optimizer": "sgd"}, "optimizer.lr") == 1
    assert [one.metric("train_loss") for one in best_runs(mixed, {"optimizer": "sgd"}, "optimizer.lr")] == [2.0]
    assert best_value(mixed, {"optimizer": "adam"}, "optimizer.lr") is None  # its run has no loss
    assert best_runs(mixed, {"optimizer": "lion"}, "optimizer.lr") == []


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(1e-3, 1e3) | st.sampled_from([math.nan, math.inf]), max_size=6))
def test_a_spread_tells_the_ends_and_what_is_lost(values: list[float]) -> None:
    words = spread(values, 6)
    finite = [value for value in values if math.isfinite(value)]
    if finite:
        ends = [float(part) for part in words.split(" and ")[0].split(" to ")]
        assert (ends[0], ends[-1]) == pytest.approx((min(finite), max(finite)), rel=1e-5)
    assert (f"{len(values) - len(finite)} not finite" in words) == (len(finite) < len(values))
    assert (words == "nothing") == (not values)


def test_spreads_in_percent() -> None:
    assert spread([0.1, 0.125, 0.2], percent=True) == "10 to 20 %"
    assert spread([0.5, 0.5, math.inf], percent=True) == "50 % and 1 not finite"


def made_up(
    claims: Callable[[Evidence], Iterable[Claim]],
    figure: Callable[[Sheet, Evidence], Figure | None] = lambda *_: None,
    **attributes: Any,
) -> Study:
    """A study of these functions."""
    body = {"claims": lambda _, evidence: claims(evidence), "figure": lambda _, *more: figure(*more)}
    study: Study = type("MadeUp", (Study,), body | attributes)()
    return study


def small_study(grid: Path) -> Path:
    run(grid, {"normalization": "none", "seed": 0}, train_loss=1.0, losses=[2.0, 1.0])
    return grid


def reported_with(monkeypatch: pytest.MonkeyPatch, grid: Path, study: object) -> Report:
    """The report where this is every experiment's study."""

    def found(experiment: str, runs: object) -> object:
        if isinstance(study, Exception):
            raise study
        return study

    monkeypatch.setattr(judging, "study_of", found)
    return write_report([grid])


@pytest.mark.usefixtures("quick_figures")
def test_what_a_study_raises_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Any:
        raise KeyError("what it needs")

    grid = small_study(tmp_path / "normalization_study")
    report = reported_with(monkeypatch, grid, made_up(broken, broken, columns=[("mine", broken)]))
    assert report.notes == [
        f"normalization_study: {what} failed: KeyError: 'what it needs'"
        for what in ("judging its claims", "the study's figure", "the column mine")
    ]
    assert report.table.header == ("configuration", "seeds", "mine", "outcome")
    assert report.table.rows == [["normalization=none", "1", "", "learns"]]
    assert report.index.is_file()
    assert not (grid / "report" / "claims.csv").exists()
    report = reported_with(monkeypatch, grid, ImportError("no module"))
    assert report.notes == ["normalization_study: the study cannot be read: ImportError: no module"]


@pytest.mark.usefixtures("quick_figures")
def test_files_of_an_earlier_study_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(sheet: Sheet, evidence: Evidence) -> Figure:
        return sheet.figure(1, 1, 3, 2)[0]

    grid = small_study(tmp_path / "normalization_study")
    one = Claim("something | holds", None, "<nothing>")
    report = reported_with(monkeypatch, grid, made_up(lambda _: [one], drawn, caption="a & b"))
    files = {path.name for path in (grid / "report").iterdir()}
    assert {"claims.csv", "normalization_study.png", "normalization_study.svg", "study.png"} <= files
    page = report.index.read_text()
    assert "something | holds" in page
    assert "(&lt;nothing&gt;)" in page
    assert "a &amp; b" in page
    assert (
        "claim **cannot be judged**: something \\| holds (&lt;nothing>)" in (grid / "report" / "table.md").read_text()
    )
    assert report.table.initialization
    reported_with(monkeypatch, grid, made_up(lambda _: []))
    left = {path.name for path in (grid / "report").iterdir()}
    assert files - left == {"claims.csv", "normalization_study.png", "normalization_study.svg"}


@pytest.mark.usefixtures("quick_figures")
def test_two_studies_in_one_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each judges its own runs by their own positions; the table is the usual one."""
    for name in ("normalization_study", "activation_study"):
        run(tmp_path / name, {"x": name, "seed": 0}, train_loss=1.0, losses=[2.0, len(name)])
    run(tmp_path / "other", {"x": "other", "seed": 0}, losses=[9.0])

    def last(evidence: Evidence) -> list[Claim]:
        return [
            Claim(str(one.value("x")), True, str(evidence.curve(one, "batch_loss")[1][-1])) for one in evidence.runs
        ]

    study = made_up(last, columns=[("mine", lambda _: "")], profiles=False)
    monkeypatch.setattr(judging, "study_of", lambda name, _: None if name == "other" else study)
    report = write_report([tmp_path])
    told = [(one.text, one.evidence) for one in report.claims]
    assert told == [("activation_study", "16.0"), ("normalization_study", "19.0")]
    assert report.table.initialization
    assert len(report.table.rows) == 3
    for grid, usual in ((tmp_path, True), (tmp_path / "activation_study", False)):
        assert ("study.png" in {path.name for path in write_report([grid]).figures}) == usual


def test_the_markdown_of_a_claim_is_one_line() -> None:
    evidence = SimpleNamespace(claim=Claim.missing("a claim", {"initializer.c": 1, "normalization": "none"}, "others"))
    assert evidence.claim.evidence == "no finished runs of initializer.c=1 normalization=none, others"
    assert Claim.missing("a claim").evidence == "no finished runs"
