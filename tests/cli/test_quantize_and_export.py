"""fanin-quantize against integer arithmetic by hand, fanin-export against the networks themselves."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from omegaconf import OmegaConf
from torch import nn

import fanin as of_python
from command_line import fanin, read, table
from fanin.cli import export, quantize
from fanin.parts.data import Dataset
from fanin.record.columns import IN_USE, names
from fanin.run.build import load_data, options_of
from fanin.run.exporting import FORMATS, check_export
from fanin.run.quantizing import quantized

pytest.importorskip("torchao")
pytest.importorskip("onnxruntime")

RECIPE = (
    "model.depth=3", "model.width=16", "data.image_size=8", "data.limit=300", "trainer.steps=40", "optimizer=adam",
    "optimizer.lr=0.01", "probe=off",
)  # fmt: skip
Array = NDArray[Any]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained run in it."""
    folder = tmp_path_factory.mktemp("use")
    said = fanin(folder, *RECIPE, "hydra.run.dir=run")
    assert said.code == 0, said.err
    return folder


def data_of(run: Path) -> Dataset:
    config = read(run / "result.json")["config"]
    return load_data(options_of(OmegaConf.create(config | {"force": False})), torch.device("cpu"), torch.float32)


def rounded(x: Array, step: Array | float) -> Array:
    return np.clip(np.round(x / step), -128, 127)


def by_hand(tensors: dict[str, torch.Tensor], x: Array, *, static: bool) -> Array:
    """The network's outputs with integers for both factors of each product, from the file's tensors alone."""
    for layer in ("linear_1", "linear_2", "linear_3"):
        w, s, b = (tensors[f"{layer}.{name}"].numpy() for name in ("weight", "weight_step", "bias"))
        assert w.dtype == np.int8
        step = tensors[f"{layer}.input_step"].numpy() if static else np.abs(x).max(1, keepdims=True) / 127.5
        x = rounded(x, step.astype(np.float32)) @ w.T.astype(np.float64) * step * s.T + b
        x = (np.maximum(x, 0) if layer != "linear_3" else x).astype(np.float32)
    return x


def test_integers_are_those_of_a_computation_by_hand(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, data = place / "quantized" / "run", data_of(place / "run")
    assert quantize.main([str(place / "run"), "--repeats", "2", "--examples", "100"]) == 0
    rows = table(out / "in_use.csv")
    assert tuple(rows[0]) == names(IN_USE)
    assert [row["form"] for row in rows] == ["trained", "int8 dynamic", "int8 static"]
    assert float(rows[0]["error"]) == pytest.approx(read(place / "run" / "result.json")["metrics"]["test_error"])
    model = of_python.Run(place / "run").model
    x = data.test_x.flatten(1).numpy()
    for row, mode in zip(rows[1:], ("dynamic", "static"), strict=True):
        tensors = torch.load(out / f"int8_{mode}.pt", weights_only=True)
        with torch.no_grad():
            found = quantized(model, mode, data.train_x[:100]).model(data.test_x).numpy()
        expected = by_hand(tensors, x, static=mode == "static")
        # Where a quotient is half way between two integers, float32 may round it to the other: a step of one input.
        apart = np.abs(found - expected)
        assert np.quantile(apart, 0.9) < 1e-5
        assert apart.max() < 0.05 * np.abs(expected).max()
        wrong = np.mean(found.argmax(1) != data.test_y.numpy())
        assert float(row["error"]) == pytest.approx(wrong, abs=1e-12)
        assert int(row["bytes"]) == sum(one.nbytes for one in tensors.values())
        # int8 in place of float32, a step for each row and, static, for each layer's inputs
        assert int(row["bytes"]) == 64 * 16 + 16 * 16 + 160 + 2 * 4 * (16 + 16 + 10) + (12 if mode == "static" else 0)
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear):
            weight = layer.weight.detach().numpy()
            step = np.abs(weight).max(1, keepdims=True) / 127.5
            np.testing.assert_allclose(tensors[f"{name}.weight_step"].numpy(), step, rtol=1e-6)
            apart = np.abs(tensors[f"{name}.weight"].numpy() - weight / step)
            assert apart.max() <= 0.5 + 128 * 2.0**-22  # half a step, and what float32 makes of 127.5
    largest = float(data.train_x[:100].abs().max())
    assert float(tensors["linear_1.input_step"]) == pytest.approx(largest / 127.5, rel=1e-6)
    assert "int8 static: test error " in capsys.readouterr().out


@pytest.mark.parametrize("kind", FORMATS)
def test_an_exported_program_answers_as_the_network(place: Path, kind: str) -> None:
    assert export.main([str(place / "run"), "--format", kind, "--repeats", "0", "--out", str(place / kind)]) == 0
    rows = table(place / kind / "in_use.csv")
    assert [row["form"] for row in rows] == ["trained", kind]
    assert rows[0]["error"] == rows[1]["error"]
    assert float(rows[1]["agreement"]) == 1
    file = place / kind / f"model.{kind}"
    assert int(rows[1]["bytes"]) == file.stat().st_size
    model, x = of_python.Run(place / "run").model, data_of(place / "run").test_x
    for count in (1, 3, len(x)):  # any number of examples
        if kind == "pt2":
            found = torch.export.load(file).module()(x[:count]).detach()
        else:
            import onnxruntime

            session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
            found = torch.from_numpy(session.run(None, {"inputs": x[:count].numpy()})[0])
        with torch.no_grad():
            torch.testing.assert_close(found, model(x[:count]), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["rnn", "lstm", "gru"])
def test_recurrent_programs_with_variational_dropout_take_any_batch(tmp_path: Path, model: str) -> None:
    """Sizes that the program was not traced with; at evaluation every mask is 1."""
    network = ("model.variational=true", "model.layers=2", "model.width=6", "regularizer=dropout")
    data = ("data.image_size=8", "data.limit=100", "data.val_size=20")
    typed = (f"model={model}", *network, *data, "trainer.steps=1", "trainer.batch_size=20", "probe=off")
    said = fanin(tmp_path, *typed, "hydra.run.dir=run")
    assert said.code == 0, said.err
    assert export.main([str(tmp_path / "run"), "--repeats", "0", "--out", str(tmp_path / "out")]) == 0
    program = torch.export.load(tmp_path / "out" / "model.pt2").module()
    trained, x = of_python.Run(tmp_path / "run").model, data_of(tmp_path / "run").test_x
    for count in (1, 3, 17):
        with torch.no_grad():
            torch.testing.assert_close(program(x[:count]), trained(x[:count]), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["cnn", "resnet", "residual_mlp", "lstm", "gru", "attention", "linear"])
def test_every_model_is_exported(tmp_path: Path, model: str) -> None:
    recipe = ("data.image_size=8", "data.limit=100", "data.val_size=20", "trainer.steps=1", "probe=off")
    said = fanin(tmp_path, f"model={model}", *recipe, "optimizer.lr=0.01", "hydra.run.dir=run")
    assert said.code == 0, said.err
    for kind in FORMATS:
        assert export.main([str(tmp_path / "run"), "--format", kind, "--repeats", "0"]) == 0


def test_a_program_that_answers_differently_is_refused() -> None:
    model, x = nn.Linear(3, 2), torch.randn(5, 3)
    assert check_export(lambda inputs: model(inputs).detach(), model, x) == 0
    with pytest.raises(Exception, match="answers differently: by 1"):
        check_export(lambda inputs: model(inputs).detach() + 1, model, x)


@pytest.mark.parametrize(
    ("command", "typed", "told"),
    [
        (quantize, ["gone"], "gone: no such folder"),
        (quantize, ["run", "--repeats", "-1"], "--repeats -1: must be at least 0"),
        (quantize, ["."], "PLACE: no run's folder: it has neither result.json nor .hydra/config.yaml"),
        (export, ["gone"], "gone: no such folder"),
        (export, ["."], "PLACE: no run's folder: it has neither result.json nor .hydra/config.yaml"),
        (quantize, ["run", "--mode", "int4"], "--mode int4: must be one of dynamic, static, both"),
        (quantize, ["run", "--examples", "0"], "--examples 0: must be at least 1"),
        (export, ["run", "--format", "onx"], "--format onx: must be one of pt2, onnx; did you mean onnx?"),
        (export, ["run", "--repeats", "-1"], "--repeats -1: must be at least 0"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: Any, typed: list[str],
    told: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(place)
    assert command.main([*typed, "--out", "never"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"fanin-{command.__name__.rpartition('.')[2]}: {told.replace('PLACE', str(place))}"
    assert not Path("never").exists()


@pytest.mark.parametrize(
    ("command", "typed", "library", "told"),
    [
        (quantize, [], "torchao", 'quantization needs torchao: pip install "fanin[quantize]"'),
        (export, ["--format", "onnx"], "onnxscript", '--format onnx needs onnxscript: pip install "fanin[onnx]"'),
    ],
)
def test_without_a_library_there_is_one_line(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: Any, typed: list[str],
    library: str, told: str,
) -> None:  # fmt: skip
    own = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] == library:
            raise ImportError(name)
        return own(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    assert command.main([str(place / "run"), *typed, "--out", str(place / "never")]) == 1
    assert told in capsys.readouterr().err
    assert not (place / "never").exists()
