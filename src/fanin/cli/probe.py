"""The command `fanin-probe`: one look at a model of one's own, and its parameters against their laws."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from fanin.errors import UserError, file_line
from fanin.process import run_command

if TYPE_CHECKING:
    from fanin.own_models.audit import Audit
    from fanin.own_models.profile import Profile

RIGHT, FAULTS, WRONG_USE = 0, 1, 2
"""Exit codes."""

FIGURES = (".png", ".svg", ".pdf")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_USE, f"{self.prog}: {message}; {self.prog} --help lists what there is\n")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = _Parser(
        prog="fanin-probe",
        description="Look once at a fresh model of your own: norms over depth, what fresh draws of it would show, what "
        "to mend; and hold its parameters against the laws that they should be drawn from.",
        epilog="examples: fanin-probe my_module:make_model --input 32,3,224,224 --loss cross_entropy; "
        "fanin-probe my_module:make_model --audit kaiming_normal. Exit code: 0, 1 if the audit finds faults, 2 if "
        "what is typed is wrong.",
        allow_abbrev=False,
    )
    made.add_argument("model", metavar="MODULE:FUNCTION", help="makes the model; this folder's modules are found")
    batch = made.add_mutually_exclusive_group()
    batch.add_argument("--input", metavar="B,...", help="a batch of standard normal numbers of this shape")
    batch.add_argument("--tokens", metavar="B,T,V", help="B rows of T tokens of V kinds")
    batch.add_argument(
        "--data", type=Path, metavar="FILE", help="a batch from a .npz file: inputs, and targets if there are some"
    )
    made.add_argument(
        "--loss",
        metavar="NAME",
        help="cross_entropy, mse or module:function; else what the model gives as its loss",
    )
    made.add_argument(
        "--redraws", type=int, default=64, metavar="N", help="fresh draws behind the norms, 8 or more; 0 for none (64)"
    )
    made.add_argument("--audit", metavar="RULE", help="hold every parameter against a law, as fanin.audit does")
    made.add_argument("--seed", type=int, default=0, help="of the model's draw and of the batch (0)")
    made.add_argument("--eval", action="store_true", help="look at the model in evaluation mode")
    made.add_argument("--json", action="store_true", help="all numbers as JSON")
    made.add_argument("--figure", type=Path, metavar="FILE", help="draw the norms into a .png, .svg or .pdf")
    return made


@dataclass(frozen=True)
class _Looked:
    profile: Profile | None
    audit: Audit | None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    arguments = parser().parse_args(argv)
    try:
        looked = _look(arguments)
        if arguments.figure is not None and looked.profile is not None:
            _draw(looked.profile, arguments.figure)
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR"):
            raise
        print(f"fanin-probe: {_line(error)}", file=sys.stderr)
        return WRONG_USE
    if arguments.json:
        print(json.dumps(_as_json(arguments.model, looked), indent=2))
    else:
        _print(looked, arguments.figure)
    return RIGHT if looked.audit is None else looked.audit.exit_code


def command() -> NoReturn:
    """The entry point of the shell's command."""
    run_command(main)


def _line(error: Exception) -> str:
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    if isinstance(error, OSError):
        return file_line(error)
    told = " ".join(str(error).split())
    return (
        f"the model cannot be looked at: {type(error).__name__}: {told}; HYDRA_FULL_ERROR=1 shows where it comes from"
    )


def _look(arguments: argparse.Namespace) -> _Looked:
    _check(arguments)
    from fanin.own_models.audit import audit
    from fanin.own_models.named_batch import arrays_in, batch_of_arrays, named_loss, normal_batch, token_batch
    from fanin.own_models.named_model import named_model
    from fanin.own_models.profile import profile

    inputs: Any = None
    targets = loss = None
    if arguments.input is not None:
        inputs = normal_batch(arguments.input, arguments.seed)
    elif arguments.tokens is not None:
        inputs = token_batch(arguments.tokens, arguments.seed)
    arrays = {} if arguments.data is None else arrays_in(arguments.data)
    model, make = named_model(arguments.model, arguments.seed)
    if arrays:
        inputs, targets = batch_of_arrays(arguments.data, arrays, model)
    if arguments.eval:
        model.eval()
    checked = None if arguments.audit is None else audit(model, arguments.audit)
    if inputs is None:
        return _Looked(None, checked)
    if arguments.loss is not None:
        loss, targets = named_loss(arguments.loss, model, inputs, targets, arguments.seed)
    looked = profile(
        model, inputs, targets, loss, arguments.redraws,
        redraw=make, rules=arguments.audit, seed=arguments.seed,
    )  # fmt: skip
    return _Looked(looked, checked)


def _check(arguments: argparse.Namespace) -> None:
    """Refuse what can be refused before anything is imported.

    Raises:
        UserError: so it is.
    """
    if arguments.input is arguments.tokens is arguments.data is None:
        if arguments.audit is None:
            raise UserError("needs a batch: --input 32,3,224,224, --tokens 8,128,50257 or --data FILE; or --audit RULE")
        for option in ("loss", "figure"):
            if getattr(arguments, option) is not None:
                raise UserError(f"--{option}: needs a batch, --input, --tokens or --data")
    figure = arguments.figure
    if figure is not None:
        if figure.suffix not in FIGURES:
            raise UserError(f"--figure {figure}: must end in {', '.join(FIGURES)}")
        if not figure.parent.is_dir():
            raise UserError(f"--figure {figure}: there is no folder {figure.parent}")
        if figure.is_dir() or not os.access(figure if figure.exists() else figure.parent, os.W_OK):
            raise UserError(f"--figure {figure}: cannot be written")


def _draw(found: Profile, path: Path) -> None:
    from matplotlib.figure import Figure

    from fanin.own_models.profile_told import figure_of

    figure_of(found, Figure(figsize=(10, 3.8), layout="constrained")).savefig(path)


def _print(looked: _Looked, figure: Path | None) -> None:
    """What was found, for a terminal."""
    from fanin.own_models.profile_told import lines_of

    lines = [] if looked.profile is None else lines_of(looked.profile)
    lines += [] if figure is None else [f"figure: {figure}"]
    lines += [] if looked.audit is None else [f"audit: {looked.audit}"]
    print("\n".join(lines))


def _as_json(model: str, looked: _Looked) -> dict[str, Any]:
    """The numbers of `fanin-probe --json`; null for what is not finite."""
    told: dict[str, Any] = {"model": model}
    if (found := looked.profile) is not None:
        told |= {
            "verdict": found.verdict,
            "analysis": None if found.analysis is None else asdict(found.analysis),
            "advice": [{**asdict(one), "said": str(one)} for one in found.advice],
            "drawn_by": found.drawn_by,
            "no_law": found.no_law,
            "no_redraw": found.no_redraw,
            "profile": found.table.to_dict("records"),
        }
    if (checked := looked.audit) is not None:
        told["audit"] = {
            "level": checked.level,
            "faults": [one._asdict() for one in checked.faults],
            "parameters": checked.table.to_dict("records"),
        }
    cleaned: dict[str, Any] = _finite(told)
    return cleaned


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    command()
