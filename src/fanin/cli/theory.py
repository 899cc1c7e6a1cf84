"""The command `fanin-theory`: what theory says of a recipe; nothing is trained, and nothing but a figure is written."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from fanin.cli.ending import ended
from fanin.errors import UserError
from fanin.process import run_command
from fanin.report.cli import Parser

if TYPE_CHECKING:
    from fanin.run.recipe_theory import RecipeTheory

SHOWN = 12
"""Layers in the terminal's table, evenly spread."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = Parser(
        prog="fanin-theory",
        description="What theory says of a freshly drawn network: its activation, its phase, norms over depth.",
        epilog="example: fanin-theory model.depth=50 activation=tanh initializer=variance_scaling initializer.c=1.5",
    )
    made.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="GROUP=OPTION or KEY=VALUE, as fanin takes them")
    made.add_argument("--config-dir", "-cd", type=Path, metavar="DIR", help="a folder of your own options")
    made.add_argument("--json", action="store_true", help="all numbers as JSON")
    made.add_argument(
        "--figure", type=Path, metavar="FILE", help="draw the phase diagram and the profile into a .png, .svg or .pdf"
    )
    return made


def main() -> int:
    """Run the command; returns the exit code."""
    from fanin.api.hydra_errors import one_line

    arguments = parser().parse_intermixed_args()
    wants_traceback = bool(os.environ.get("HYDRA_FULL_ERROR"))
    os.environ["HYDRA_FULL_ERROR"] = "1"
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # small matrices: more threads only wait for each other

    def work() -> None:
        figure = arguments.figure
        if figure is not None and figure.suffix not in (".png", ".svg", ".pdf"):
            raise UserError(f"--figure {figure}: must end in .png, .svg or .pdf")
        theory = _theory(arguments)
        if arguments.json:
            print(json.dumps(theory.as_json(), indent=2))
        else:
            _print(theory)
        if figure is not None:
            from fanin.report.figures.phase import draw_phase

            if theory.law is None or theory.activation is None or theory.point is None or theory.critical is None:
                raise UserError("--figure: draws plain chains of fully connected layers; leave it out for this recipe")
            draw_phase(theory.activation, theory.point, theory.critical, theory.law, figure)
            print(f"figure      {figure}", file=sys.stderr if arguments.json else sys.stdout)

    def told(error: Exception) -> str | None:
        if wants_traceback:
            return None
        return f"--figure: {error.strerror}: {error.filename}" if isinstance(error, OSError) else one_line(error, typed)

    typed = sys.argv[1:]
    return ended("fanin-theory", work, told)


def command() -> NoReturn:
    """The entry point of the shell's command."""
    run_command(main)


def _theory(arguments: argparse.Namespace) -> RecipeTheory:
    """Compose the recipe and work its theory out."""
    from hydra.types import RunMode

    from fanin.api.application import application
    from fanin.api.overrides import overrides_of
    from fanin.api.theory_of_a_recipe import theory_of
    from fanin.run.identity import without_hydra

    if arguments.config_dir is not None and not arguments.config_dir.is_dir():
        raise UserError(f"--config-dir {arguments.config_dir}: must be a folder of option files, GROUP/OPTION.yaml")
    with application(more=arguments.config_dir) as app:
        typed = overrides_of(arguments.overrides, sys.argv[1:])
        return theory_of(
            without_hydra(app.compose_config("config", typed, RunMode.MULTIRUN, with_log_configuration=False))
        )


def _print(theory: RecipeTheory) -> None:
    """The numbers as tables of the terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    numbers = theory.as_json()
    point, activation, critical = numbers["point"], numbers["activation"], numbers["critical"]
    rows = {}
    if activation is not None:
        rows["activation at q = 1"] = (
            f"E f^2 {_text(activation['mean_square'])}, E f'^2 {_text(activation['derivative_mean_square'])}, "
            f"mean {_text(activation['mean'])}, gain {_text(activation['gain'])}"
        )
    if point is not None:
        rows |= {
            "weights, biases": f"variance {_text(point['variance'])} / fan_in, {_text(point['bias_variance'])}",
            "fixed point": f"q* {_text(point['q'])}, chi_par {_text(point['chi_par'])} "
            f"(depth scale {_text(point['xi_q'])}), chi_perp {_text(point['chi_perp'])} "
            f"(depth scale {_text(point['xi_c'])})",
            "phase": f"{point['phase']}: a layer multiplies gradients by {_text(point['chi_perp'] ** 0.5)}",
        }
    rows["critical variance"] = (
        f"{_text(critical['variance'])} / fan_in (q* {_text(critical['q'])}, chi_par {_text(critical['chi_par'])})"
        if critical["variance"] is not None
        else f"none: {critical['why']}"
    )
    rows |= {f"depth in {kind}": text for kind, text in theory.depths().items()}
    law = numbers["law"]
    rows["law"] = f"{law['source']}, of {law['of']}" if law["source"] else "none"
    if law["why"]:
        rows["no law"] = law["why"]
    about = Table.grid(padding=(0, 2))
    for key, text in rows.items():
        about.add_row(key, text)
    console.print(about)
    table = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1),
        title=f"norms over {len(numbers['layers'])} layers: median, 16 to 84 %",
        title_justify="left",
    )
    table.add_column("layer", no_wrap=True)
    for name in ("activation", "gradient / last" if law["against"] else "gradient"):
        table.add_column(name, justify="right", no_wrap=True)
        table.add_column("16 to 84 %", justify="right", no_wrap=True)
    for layer in _spread(numbers["layers"]):
        cells = [_band(layer, prefix) for prefix in ("", "gradient_")]
        table.add_row(layer["name"], *(cell for pair in cells for cell in pair))
    console.print(table)


def _spread(layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Some of the layers, the first and the last among them."""
    if len(layers) <= SHOWN:
        return layers
    places = {round(place * (len(layers) - 1) / (SHOWN - 1)) for place in range(SHOWN)}
    return [layers[place] for place in sorted(places)]


def _band(layer: dict[str, Any], prefix: str) -> tuple[str, str]:
    values = [layer[f"{prefix}{key}"] for key in ("q16", "median", "q84")]
    if values[1] is None:
        return "", ""
    low, median, high = (_text(value, 3) for value in values)
    return median, f"{low} – {high}"


def _text(value: float | None, digits: int = 4) -> str:
    return "without bound" if value is None else f"{0.0 if abs(value) < 1e-12 else value:.{digits}g}"


if __name__ == "__main__":
    command()
