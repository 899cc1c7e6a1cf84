"""The laws over every activation and initializer: law_study's grid beyond its quick form."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_line import fanin, table

ACTIVATIONS = sorted(path.stem for path in (Path(__file__).parents[2] / "conf" / "activation").glob("*.yaml"))
PARTS = 3
WEIGHTS = "variance_scaling,xavier_uniform,truncated_normal,orthogonal"


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mlp", "residual_mlp"])
@pytest.mark.parametrize("part", range(PARTS))
def test_the_laws_of_every_activation(tmp_path: Path, model: str, part: int) -> None:
    """Exact ones at every layer, the activations of the others to their accuracy; 64 seeds each."""
    typed = (
        f"activation={','.join(ACTIVATIONS[part::PARTS])}",
        f"initializer={WEIGHTS}",
        f"model={model}",
        "seed=range(200,264)",
    )
    said = fanin(tmp_path, "experiment=law_study", *typed, "normalization=none,layer", seconds=4 * 3600)
    assert said.code == 0
    grid = tmp_path / "outputs" / "law_study"
    assert {row["state"] for row in table(grid / "summary.csv")} == {"done"}
    told = {row["claim"]: row["verdict"] for row in table(grid / "report" / "claims.csv")}
    judged = {claim: verdict for claim, verdict in told.items() if claim.startswith(("exact", "activations"))}
    assert len(judged) == 3
    assert set(judged.values()) == ({"holds"} if model == "mlp" else {"holds", "cannot be judged"})
