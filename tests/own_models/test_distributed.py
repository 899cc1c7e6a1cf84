"""Two processes that train one network: one writes, and its gradients are the synchronized ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from own_loops import approx, curve, rows, said

SCRIPT = """
import json, sys
import torch
from torch import nn
import torch.distributed as dist
import fanin

rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3))
parallel = nn.parallel.DistributedDataParallel(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
norms, outs = [], []
batch = torch.ones(4, 5)
with fanin.watch(parallel, f"{folder}/own", every=1, inputs=batch, loss=lambda out: out.square().mean()) as watch:
    for step in range(3):
        optimizer.zero_grad()
        x = torch.randn(4, 5, generator=torch.Generator().manual_seed(10 * step + rank))
        out = parallel(x)
        loss = out.square().mean()
        loss.backward()
        norms.append(model[0].weight.grad.double().norm().item())
        outs.append(out.detach().double().norm().item())
        optimizer.step()
        watch.step(optimizer, loss=loss)
with open(f"{folder}/{rank}.json", "w") as file:
    json.dump({"norms": norms, "outs": outs, "weight": model[0].weight.sum().item()}, file)
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_rank_0_writes_the_synchronized_gradient(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT]
    started = [subprocess.Popen([*command, str(rank), str(tmp_path)], stderr=subprocess.PIPE) for rank in range(2)]
    for one in started:
        errors = one.communicate(timeout=120)[1].decode()
        assert one.returncode == 0, errors
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first["norms"] == second["norms"]
    assert first["outs"] != second["outs"]
    assert first["weight"] == second["weight"]
    assert curve(tmp_path / "own", "gradient_norm", "0") == approx(first["norms"])
    assert curve(tmp_path / "own", "activation_norm", "2") == approx(first["outs"])
    assert {row["snapshot"] for row in rows(tmp_path / "own")} == {"init", "final"}
    assert said(tmp_path / "own")["steps"] == 3
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["own"]
