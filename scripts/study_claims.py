"""What every study claims of its own grid, in its own words, before anything has been run.

The grid of each experiment is composed with one seed and left unrun; a study's claims, asked of that, all say that they
cannot be judged, and are worded for what the grid varies.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode

from fanin.api.application import application
from fanin.cli.help import content
from fanin.report.read.configurations import group_runs
from fanin.report.read.folders import find_runs, read_runs
from fanin.report.read.series import Metrics, Profiles
from fanin.report.studies import load_study
from fanin.report.studies.base import Evidence
from fanin.sweep.composer import Composer, hydra_record, write_record
from fanin.sweep.grid_axes import jobs_of
from option_pages import options


def text() -> str:
    """The claims of every experiment that has a study, as YAML."""
    named = [path for path in options("experiment") if content(path).get("study")]
    claims = {path.stem: claims_of(path) for path in named}
    return "# written by `make reference ARGS=--claims`\n" + yaml.safe_dump(claims, allow_unicode=True, width=120)


def claims_of(path: Path) -> list[str]:
    """The claims of one experiment."""
    node = content(path)
    axes = {key: value for key, value in node["hydra"]["sweeper"]["params"].items() if "=" not in key} | {"seed": "0"}
    chosen = f"experiment={path.stem}"
    with application() as app, tempfile.TemporaryDirectory() as folder:
        grid = Path(folder) / path.stem
        master = app.compose_config("config", [chosen], RunMode.MULTIRUN)
        compose = Composer(app.config_loader, master)
        typed = OverridesParser.create().parse_overrides([chosen, *(f"{key}={value}" for key, value in axes.items())])
        for number, job in enumerate(jobs_of(typed)):
            composed, place = compose(job), grid / str(number)
            write_record(place, composed.plain, composed.overrides, hydra_record(composed, place, number))
        runs = read_runs(find_runs([grid]), grid)
        study = load_study(node["study"])
        assert study is not None
        return [
            claim.text for claim in study.claims(Evidence(runs, group_runs(runs, ()), Profiles(runs), Metrics(runs)))
        ]
