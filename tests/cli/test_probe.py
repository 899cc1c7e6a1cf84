"""`fanin-probe`: what the real command says of models in a file of one's own, its exit codes, and its refusals."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

import fanin
from command_line import Said, end, start

MODELS = '''
import torch
from torch import nn
from torch.nn import functional

VALUE = 3
LAYER = nn.Linear(3, 2)


def make_model():
    """ReLU with 2/n in three layers and 1/n in 25."""
    layers = []
    for place in range(28):
        layers += [nn.Linear(40, 40), nn.ReLU()]
        nn.init.normal_(layers[-2].weight, std=((2 if place < 3 else 1) / 40) ** 0.5)
        nn.init.zeros_(layers[-2].bias)
    return nn.Sequential(*layers, nn.Linear(40, 4))


def good():
    layers = [nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 4)]
    for one in (layers[0], layers[2]):
        nn.init.kaiming_normal_(one.weight)
        nn.init.zeros_(one.bias)
    return nn.Sequential(*layers)


class Language(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(11, 8), nn.Linear(8, 11)

    def forward(self, ids, labels=None):
        logits = self.head(self.embedding(ids))
        return logits if labels is None else functional.cross_entropy(logits.flatten(0, 1), labels.flatten())


def needs(width): return nn.Linear(width, width)
def three(): return 3
def breaks(): raise RuntimeError("no weights")
def unsummed(outputs): return outputs
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a module of models, one that is broken, and files of arrays."""
    place = tmp_path_factory.mktemp("own")
    (place / "my_models.py").write_text(MODELS)
    (place / "broken.py").write_text("x = = 3\n")
    rng = np.random.default_rng(0)
    np.savez(place / "batch.npz", inputs=rng.normal(size=(6, 40)), targets=rng.integers(4, size=6))
    ids = rng.integers(11, size=(3, 5))
    np.savez(place / "words.npz", ids=ids, labels=ids)
    np.savez(place / "texts.npz", inputs=np.array(["a", "b"]))
    np.savez(place / "none.npz")
    np.savez(place / "alone.npz", y=np.arange(3))
    return place


def probe(folder: Path, *arguments: str) -> Said:
    """The command, run to its end."""
    return end(start(folder, *arguments, module="fanin.cli.probe"))


@pytest.mark.slow
def test_says_which_layers_vanish_and_draws_them(folder: Path) -> None:
    said = probe(folder, "my_models:make_model", "--input", "16,40", "--redraws", "8", "--figure", "norms.svg")
    assert (said.code, said.err) == (0, [])
    assert said.out[0].startswith("verdict: vanishing")
    (advice,) = [line for line in said.out if line.startswith("advice: ")]
    assert "forward vanishing from 6 to 54 (25 layers" in advice
    assert "2 / fan_in would hold the norms" in advice
    assert "band: redraw of 8" in said.out
    assert said.out[-1] == "figure: norms.svg"
    assert "<svg" in (folder / "norms.svg").read_text()


def test_numbers_as_json_are_those_from_python(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = probe(
        folder,
        "my_models:good",
        "--data",
        "batch.npz",
        "--loss",
        "cross_entropy",
        "--audit",
        "kaiming_normal",
        "--json",
    )
    told: dict[str, Any] = json.loads("\n".join(said.out))
    assert (said.code, said.err) == (0, [])
    monkeypatch.syspath_prepend(folder)
    from my_models import good  # type: ignore[import-not-found]

    with np.load(folder / "batch.npz") as arrays:
        inputs, targets = torch.tensor(arrays["inputs"]).float(), torch.tensor(arrays["targets"])
    torch.manual_seed(0)
    found = fanin.profile(good(), inputs, targets, functional.cross_entropy, rules="kaiming_normal")
    assert (told["verdict"], told["drawn_by"], told["no_law"]) == (found.verdict, "kaiming_normal", "")
    assert told["audit"]["faults"] == []
    assert len(told["audit"]["parameters"]) == 4
    mine = found.table.to_dict("records")
    assert [row["layer"] for row in told["profile"]] == [row["layer"] for row in mine]
    for column in ("value", "theory", "band_low", "band_high"):
        numbers = [math.nan if row[column] is None else row[column] for row in told["profile"]]
        assert numbers == pytest.approx([row[column] for row in mine], rel=1e-4, nan_ok=True)
    gradients = [row for row in told["profile"] if row["quantity"] == "gradient_norm"]
    assert len(gradients) == 2
    assert all(row["source"] == "first order in 1/n" for row in gradients)


def test_the_audit_gives_the_exit_code(folder: Path) -> None:
    wrong = probe(folder, "my_models:make_model", "--audit", "kaiming_normal")
    assert (wrong.code, wrong.err) == (1, [])
    assert wrong.out[0] == "audit: 58 parameters: 26 faults"
    assert wrong.out[1].startswith("6.weight: kaiming_normal: its standard deviation is")
    right = probe(folder, "my_models:good", "--audit", "kaiming_normal")
    assert (right.code, right.out) == (0, ["audit: 4 parameters: all as declared"])


def test_tokens_and_arguments_by_their_names(folder: Path) -> None:
    tokens = probe(
        folder, "my_models:Language", "--tokens", "4,6,11", "--loss", "cross_entropy", "--redraws", "8", "--json"
    )
    assert tokens.code == 0, tokens.err
    quantities = {row["quantity"] for row in json.loads("\n".join(tokens.out))["profile"]}
    assert {"gradient_norm", "activation_norm"} <= quantities
    own = probe(folder, "my_models:Language", "--data", "words.npz", "--redraws", "0", "--json")
    assert own.code == 0, own.err
    told = json.loads("\n".join(own.out))
    assert any(row["quantity"] == "gradient_norm" and row["layer"] == "head" for row in told["profile"])
    assert told["no_redraw"] == "redraws=0 asks for none"


BATCH = ("--input", "4,40", "--redraws", "0")

WRONG: dict[str, tuple[tuple[str, ...], str]] = {
    "no function": (("my_models", *BATCH), "my_models: must be module:name, such as my_module:make_model"),
    "no module": (("my_model:good", *BATCH), "my_model:good: there is no module my_model, neither in this folder nor"),
    "no such function": (("my_models:goood", *BATCH), "my_models:goood: my_models has no goood; did you mean good?"),
    "broken module": (("broken:good", *BATCH), "broken: cannot be imported: SyntaxError: invalid syntax"),
    "arguments": (("my_models:needs", *BATCH), "my_models:needs: needs arguments; name a function without any"),
    "not a model": (("my_models:three", *BATCH), "my_models:three: makes a int, and no torch.nn.Module"),
    "no model": (("my_models:VALUE", *BATCH), "my_models:VALUE: is no function that makes a model, but a int"),
    "breaks": (("my_models:breaks", *BATCH), "my_models:breaks: fails: RuntimeError: no weights"),
    "nothing to do": (("my_models:good",), "needs a batch: --input 32,3,224,224, --tokens"),
    "two batches": (
        ("my_models:good", "--tokens", "1,2,3", *BATCH),
        "argument --input: not allowed with argument --tokens",
    ),
    "shape": (("my_models:good", "--input", "4,x"), "--input 4,x: must be whole numbers > 0, such as 32,3,224,224"),
    "wrong shape": (
        ("my_models:good", "--input", "4,3"),
        "the model cannot be looked at: RuntimeError: .* (4x3 and 40x40)",
    ),
    "tokens": (
        ("my_models:Language", "--tokens", "4,6"),
        "--tokens 4,6: must be whole numbers > 0, such as 8,128,50257",
    ),
    "tokens for numbers": (("my_models:good", "--tokens", "4,40,9"), "the model cannot be looked at: RuntimeError:"),
    "no file": (("my_models:good", "--data", "no.npz"), "--data no.npz: No such file or directory"),
    "no arrays": (("my_models:good", "--data", "none.npz"), "--data none.npz: has no arrays; numpy.savez"),
    "texts": (("my_models:good", "--data", "texts.npz"), "--data texts.npz: inputs is an array of <U1, and no numbers"),
    "no npz": (("my_models:good", "--data", "broken.py"), "--data broken.py: is no .npz or .npy file of arrays"),
    "targets alone": (("my_models:good", "--data", "alone.npz"), "--data alone.npz: has targets and no inputs"),
    "rule": (
        ("my_models:good", "--audit", "kaimin_normal"),
        "rules: kaimin_normal is no law; .* did you mean kaiming_normal?",
    ),
    "loss": (
        ("my_models:good", "--loss", "crossentropy", *BATCH),
        "--loss crossentropy: must be cross_entropy, mse or",
    ),
    "own loss": (("my_models:good", "--loss", "my_models:unsummed", *BATCH), "loss: must give one number, not [4, 4]"),
    "loss alone": (("my_models:good", "--loss", "mse", "--audit", "gpt2"), "--loss: needs a batch, --input, --tokens"),
    "figure": (("my_models:good", "--figure", "a.txt", *BATCH), "--figure a.txt: must end in .png, .svg, .pdf"),
    "no folder": (("my_models:good", "--figure", "no/a.png", *BATCH), "--figure no/a.png: there is no folder no"),
    "redraws": (("my_models:good", "--input", "4,40", "--redraws", "3"), "redraws=3: must be 8 or more, or 0"),
    "unknown option": (("my_models:good", "--inputs", "4,40"), "unrecognized arguments: --inputs"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_uses_are_one_line_and_write_nothing(folder: Path, name: str) -> None:
    arguments, expected = WRONG[name]
    before = sorted(path.name for path in folder.iterdir() if path.name != "__pycache__")
    said = probe(folder, *arguments)
    assert (said.code, said.out, len(said.err)) == (2, [], 1)
    parts = expected.split(" .* ")
    assert said.err[0].startswith(f"fanin-probe: {parts[0]}")
    assert all(part in said.err[0] for part in parts)
    assert sorted(path.name for path in folder.iterdir() if path.name != "__pycache__") == before


def test_a_figure_that_cannot_be_written(folder: Path) -> None:
    (folder / "taken.png").mkdir(exist_ok=True)
    said = probe(folder, "my_models:good", "--figure", "taken.png", *BATCH)
    assert (said.code, said.out, said.err) == (2, [], ["fanin-probe: --figure taken.png: cannot be written"])
