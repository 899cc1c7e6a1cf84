"""The generated reference: a page a group, the table of all groups, a page for the files of a run, JSON schemas.

`make reference` writes them from the YAML of conf/ and the docstrings of what it names; with --check nothing is
written, and what is not current makes the command fail.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import experiment_page
import option_pages
import schemas
from fanin.catalogue import GROUPS, config_folder
from fanin.record import columns, landscape_columns, report_columns, search_columns

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "reference"
FILES = ROOT / "docs" / "files.md"


def main() -> int:
    """Write all pages, or check that they are current."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail where something is not current")
    parser.add_argument("--claims", action="store_true", help="ask the studies for their claims as well: half a minute")
    given = parser.parse_args()
    check = given.check
    if given.claims:
        import study_claims

        said = study_claims.text()
        if check and said != experiment_page.CLAIMS.read_text():
            print(f"{experiment_page.CLAIMS.relative_to(ROOT)}: not current; make reference ARGS=--claims")
            return 1
        experiment_page.CLAIMS.write_text(said)
    wanted = contents()
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    unknown = sorted(set(PAGES.glob("*.md")) - wanted.keys()) + schemas.unknown(wanted)
    for path in (*stale, *unknown):
        print(f"{path.relative_to(ROOT)}: not current; make reference" if check else path.relative_to(ROOT))
    if check:
        return 1 if stale or unknown else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path], encoding="utf-8")
    for path in unknown:
        path.unlink()
    return 0


def contents() -> dict[Path, str]:
    """Every file that this script writes, with its text."""
    pages = {PAGES / f"{group}.md": option_pages.page(group) for group in groups() if group != "experiment"}
    pages[PAGES / "experiment.md"] = experiment_page.page()
    return schemas.contents() | pages | {PAGES / "index.md": table(), FILES: files()}


def groups() -> list[str]:
    """The groups of conf/ in the order of fanin --help."""
    return [group for group in GROUPS if (config_folder() / group).is_dir()]


def table() -> str:
    """The table of all groups, with the number of options of each."""
    lines = ["# Reference\n", "Each group links to its page: formulas, keys, sources. Written by `make reference`.\n"]
    lines += ["| group | | options | |", "|---|---|---|---|"]
    total = 0
    for group in groups():
        names = [path.stem for path in option_pages.options(group)]
        total += len(names)
        told = ", ".join(f"`{name}`" for name in names)
        lines.append(f"| [`{group}`]({group}.md) | {len(names)} | {told} | {GROUPS[group].words} |")
    lines.append(f"| {len(groups())} groups | {total} | | |")
    return "\n".join(lines) + "\n"


def files() -> str:
    """The page of every file's columns and keys, with their units."""
    parts = [
        "# The files of a run, of a grid and of its report\n",
        "Written by `make reference` from the files `*columns.py` of `src/fanin/record/`,",
        "which is what training and reports read.",
        "An empty cell of a CSV file, and null in JSON, is a number that does not apply; one that is not finite is",
        "`nan`, `inf` or `-inf`.\n",
        "## States\n",
        "A run's `state`, in `status.json`, `result.json` and `summary.csv`:\n",
        "| state | meaning |\n|---|---|",
        *(f"| `{state}` | {meaning} |" for state, meaning in columns.STATES.items()),
    ]
    for name, listed, words in TABLES:
        parts += [f"\n## {name}\n", *([f"{words}\n"] if words else []), "| name | meaning | unit |\n|---|---|---|"]
        parts += [f"| `{one.name}` | {one.meaning} | {one.unit} |" for one in listed]
    return "\n".join(parts) + "\n"


TABLES = (
    ("`status.json`", columns.STATUS, "Written again and again while a run is on its way."),
    ("`metrics.csv`", columns.METRICS, "A row for each logged step, and one of the end."),
    ("`profiles.csv`", columns.PROFILES, "A row for each snapshot, layer and quantity."),
    (
        "`histograms.csv`",
        columns.HISTOGRAMS,
        "With `probe.histograms=[activations,weights,gradients]`, or some of them.",
    ),
    ("`trajectory.csv`", columns.TRAJECTORY, "With `probe.trajectory=true`."),
    ("`gradient_check.csv`", columns.GRADIENT_CHECK, "With `debug=gradient_check`: a row for each derivative."),
    ("`residuals.csv`", columns.RESIDUALS, "Where numbers are estimated (regression)."),
    ("`ensemble/ensemble.csv`", columns.ENSEMBLE, "By `fanin-ensemble`: a row for each number of members."),
    ("`in_use.csv`", columns.IN_USE, "By `fanin-prune`, `fanin-quantize` and `fanin-export`: a row for each form."),
    ("`landscape/NAME.csv`", landscape_columns.LANDSCAPE, "By `fanin-landscape`: a row for each point of the grid."),
    ("`landscape/NAME-paths.csv`", landscape_columns.LANDSCAPE_PATHS, "The way of the training, projected on it."),
    ("`result.json`", columns.RESULT, "Written last: a folder that has it is complete."),
    ("`result.json`: `metrics`", columns.FINAL, ""),
    ("`result.json`: `generalization`", columns.GENERALIZATION, "Of a classifier that was trained to its end."),
    ("`result.json`: `init`", columns.INIT + columns.INIT_WORDS + columns.INIT_MORE, ""),
    (
        "`summary.csv`",
        columns.SUMMARY_FIRST + columns.SUMMARY_LAST,
        "A row for each run of a grid; after the first four, a column for every key that varies, its seed last.",
    ),
    ("`summary.csv` of a search", search_columns.SUMMARY_SEARCH, "After the seed."),
    ("`search/search.json`", search_columns.SEARCH, "Written before the first run; another search is refused here."),
    ("`search/rungs.csv`", search_columns.RUNGS, "Written when a rung is over."),
    ("`report/table.csv`", report_columns.TABLE_FIRST + report_columns.TABLE_NUMBER, "A row for each configuration."),
    (
        "`report/best.csv`",
        report_columns.BEST,
        "A row for each configuration that has a number, the best first; none where an experiment is a study.",
    ),
    ("`report/best_by_axis.csv`", report_columns.BEST_BY_AXIS, "A row for each value of each axis."),
    ("`report/claims.csv`", report_columns.CLAIMS, "Of studies."),
    ("`report/search.csv`", report_columns.SEARCHED, "Of a search: a row for each configuration."),
    (
        "`report/importance.csv`",
        report_columns.IMPORTANCE,
        "Of a search, and of a grid of enough configurations over two keys or more.",
    ),
    ("`report/compare.csv`", report_columns.COMPARE, "By `fanin-report --compare`: a row for each side but the first."),
    ("`report/compare_ranks.csv`", report_columns.COMPARE_RANKS, "Of three sides or more, the best first."),
)


if __name__ == "__main__":
    sys.exit(main())
