"""The figures of docs/reference/experiment.md, from reports that `fanin experiment=NAME` has written.

python scripts/study_figures.py outputs/*/report

Each report's first figure is made smaller and put into docs/figures/; one whose claims do not all hold is refused.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from PIL import Image

from few_colours import few_colours
from option_pages import options

FIGURES = Path(__file__).parents[1] / "docs" / "figures"
WIDTH = 1400
"""Pixels: twice what a page shows."""

COLOURS = 96


def main() -> int:
    """Take the figure of every report named."""
    names = {path.stem for path in options("experiment")}
    for report in map(Path, sys.argv[1:]):
        name = next((one for one in (report.name, report.parent.name) if one in names), None)
        pictures = (report / f"{one}.png" for one in (name, "pareto", "study"))
        drawn = next((path for path in pictures if path.is_file()), None)
        if name is None or drawn is None:
            print(f"{report}: no report of an experiment")
            return 1
        if failed := _not_held(report / "claims.csv"):
            print(f"{report}: {failed[0]}")
            return 1
        FIGURES.mkdir(exist_ok=True)
        image = Image.open(drawn).convert("RGB")
        small = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)
        few_colours(small, COLOURS).save(FIGURES / f"{name}.png", optimize=True)
        print(FIGURES / f"{name}.png")
    return 0


def _not_held(claims: Path) -> list[str]:
    if not claims.is_file():
        return []
    with claims.open(newline="", encoding="utf-8") as file:
        return [f"{row['claim']}: {row['verdict']}" for row in csv.DictReader(file) if row["verdict"] != "holds"]


if __name__ == "__main__":
    sys.exit(main())
