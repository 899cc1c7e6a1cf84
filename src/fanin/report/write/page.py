"""The page of a report: study table, figures, runs with their states, notes; one file, no script, no network."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from fanin.record.columns import STATES
from fanin.record.summary import METRICS
from fanin.report.read.folders import Run

if TYPE_CHECKING:
    from fanin.report import Report

CAPTIONS = {
    "study": "At initialization over depth, and the training loss. Thin: one seed; thick: mean over seeds; dashed: "
    "theory's median at this width, shaded: one standard deviation of a single seed around it; dotted: mean square.",
    "movement": "Before (pale) and after training (dashed), and how far the weights of each layer moved.",
    "curves": "Mean over seeds with its 95 % t-interval, as long as half of the seeds go on.",
    "confusion": "What the examples of each class were taken for, in percent of the class, over all finished runs.",
}
BADGES = {True: "done", False: "failed", None: "unknown"}
INITIALIZATION = (
    "Factors and gradient norms are geometric means over seeds. The deviation is that of the last hidden activation "
    "norm from theory's median, in standard deviations of the finite-width band of one seed: mean [range]. "
)
STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --soft: #666; --line: #ddd; --paper: #fff; --card: #f6f6f6 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --soft: #a0a0a0; --line: #3a3a3a; --paper: #161616;
  --card: #222 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1180px;
  margin: 2rem auto; padding: 0 1rem }
h1 { margin: 0; font-size: 1.6rem } h2 { margin: 2.2rem 0 .6rem; font-size: 1.15rem }
.setting, figcaption, .small { color: var(--soft); font-size: .9rem }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: .88rem }
th, td { padding: .3rem .7rem .3rem 0; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top }
th { font-weight: 600; vertical-align: bottom } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
figure { margin: 1rem 0 } img { max-width: 100%; background: #fff; border-radius: 6px }
a { color: inherit } code { font-size: .88em; background: var(--card); padding: .1em .35em; border-radius: 4px }
.badge { color: #fff; border-radius: 9px; padding: .05rem .55rem; font-size: .8rem; white-space: nowrap }
.done { background: #00745a } .diverged { background: #b34700 } .failed { background: #a3153a }
.running { background: #005f99 } .interrupted, .pruned, .unknown { background: #666 }
.claims { list-style: none; padding: 0 }
li { margin: .2rem 0; overflow-wrap: anywhere }
"""


def write_page(report: Report, runs: Sequence[Run]) -> None:
    """Write index.html beside the figures and tables; every text from outside is escaped."""
    head = f'<title>{escape(report.title)}</title><meta name="viewport" content="width=device-width, initial-scale=1">'
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{head}<style>{STYLE}</style></head><body>',
        f'<h1>{escape(report.title)}</h1><p class="setting">{escape(report.setting)}</p>',
        "<p>" + _counts(runs) + "</p>",
        *(line for name in report.captions for line in _figure(report, name)),
        *_claims(report),
        *_figure(report, "study"),
        "<h2>Configurations</h2>",
        _table(
            report.table.header,
            [[_cell(text, i in report.table.numeric) for i, text in enumerate(row)] for row in report.table.rows],
        ),
        '<p class="small">'
        + (INITIALIZATION if report.table.initialization else "")
        + f"Means and intervals of everything: {_link(report, report.tables[0])}, "
        f"{_link(report, report.tables[1])}; one row per run: {_link(report, report.summary_path)}.</p>",
        *_figure(report, "movement"),
        *_figure(report, "curves"),
        *_figure(report, "confusion"),
        *_notes(report),
        f"<h2>Runs</h2>{_runs(report, runs)}",
        f'<p class="small">TensorBoard: <code>tensorboard --logdir {escape(str(report.grid))}</code></p></body></html>',
    ]
    report.index.write_text("\n".join(parts) + "\n", encoding="utf-8")


def _counts(runs: Sequence[Run]) -> str:
    """Badges with the number of runs in each state."""
    counts = {state: sum(run.state == state for run in runs) for state in STATES}
    return " ".join(_badge(state, f"{count} {state}") for state, count in counts.items() if count)


def _claims(report: Report) -> list[str]:
    """Each claim with its verdict and the numbers behind it."""
    if not report.claims:
        return []
    items = [
        f"<li>{_badge(BADGES[claim.holds], f'claim {claim.verdict}')} {escape(claim.text)} "
        f'<span class="small">({escape(claim.evidence)})</span></li>'
        for claim in report.claims
    ]
    return ["<h2>Claims</h2>", '<ul class="claims">', *items, "</ul>"]


def _figure(report: Report, name: str) -> list[str]:
    """The figure, linked to its vector form, or nothing where it was not drawn."""
    paths = {path.suffix: path for path in report.figures if path.stem == name}
    if not paths:
        return []
    png, svg = (quote(paths[kind].name) for kind in (".png", ".svg"))
    image = f'<a href="{svg}"><img src="{png}" alt="{name} figure"></a>'
    caption = CAPTIONS.get(name) or report.captions.get(name, "")
    return [f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"]


def _runs(report: Report, runs: Sequence[Run]) -> str:
    """The table of runs: link, state, what came of it."""
    metrics = [name for name in METRICS if any(run.files.metric(name) is not None for run in runs)]
    header = [
        "run",
        "state",
        "outcome",
        "verdict",
        "factor per layer",
        *(name.replace("_", " ") for name in metrics),
    ]
    rows = []
    for run in runs:
        outcome = run.files.outcome or run.progress
        if run.files.diverged:
            outcome = f"diverged at step {run.files.diverged.get('step')} ({run.files.diverged.get('layer')})"
        link = f'<td><a href="{_href(report, run.folder)}/">{escape(run.name)}</a>'
        log = run.folder / "run.log"
        link += f' <a class="small" href="{_href(report, log)}">log</a></td>' if log.is_file() else "</td>"
        numbers = [run.files.init("factor_per_layer"), *(run.files.metric(name) for name in metrics)]
        cells = [link, f"<td>{_badge(run.state, run.state)}</td>", _cell(outcome), _cell(run.files.verdict)]
        rows.append([*cells, *(_cell("" if x is None else f"{x:.4g}", numeric=True) for x in numbers)])
    return _table(header, rows)


def _notes(report: Report) -> list[str]:
    if not report.notes:
        return []
    return ["<h2>Notes</h2><ul>", *(f"<li>{escape(note)}</li>" for note in report.notes), "</ul>"]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    numeric = ['class="n"' in cell for cell in rows[0]]
    cells = [f"<th{' class=n' * right}>{escape(name)}</th>" for name, right in zip(header, numeric, strict=True)]
    body = "\n".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{"".join(cells)}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def _cell(text: str, numeric: bool = False) -> str:
    return f'<td class="n">{escape(text)}</td>' if numeric else f"<td>{escape(text)}</td>"


def _badge(state: str, text: str) -> str:
    return f'<span class="badge {escape(state)}">{escape(text)}</span>'


def _link(report: Report, path: Path) -> str:
    return f'<a href="{_href(report, path)}">{escape(path.name)}</a>'


def _href(report: Report, path: Path) -> str:
    """The path relative to the page; a leading "./" keeps a name with a colon from reading as an address."""
    return escape(quote("./" + Path(os.path.relpath(path, report.out)).as_posix()))
