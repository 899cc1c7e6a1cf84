"""Event files, read by TensorBoard's own loaders."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader, LegacyEventFileLoader
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.util import tensor_util

from fanin.record.columns import METRICS, PROFILES, names
from fanin.record.event_file import EventFile, masked_crc
from fanin.record.recorder import ProfileRow, Recorder
from fanin.record.run_folder import RunFolder
from fanin.record.tensorboard_plugins import METRIC_TAGS, SESSION_END, SESSION_START, hparams_end, hparams_start

EVERYTHING = {"scalars": 0, "images": 0, "tensors": 0}


def read(folder: Path) -> EventAccumulator:
    """What TensorBoard makes of a folder's event files."""
    return EventAccumulator(str(folder), size_guidance=EVERYTHING).Reload()


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in read(folder).Scalars(tag)]


def float32(value: float) -> float:
    """What an event holds of a value; beyond float32's range it is infinite."""
    with np.errstate(over="ignore"):
        return float(np.float32(value))


@pytest.mark.parametrize("size", [0, 1, 7, 8, 100, 4097])
def test_the_checksum_is_tensorboards_own(size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    assert struct.pack("<I", masked_crc(data)) == struct.pack("<I", masked_crc32c(data))


def test_the_checksum_of_a_known_message() -> None:
    """CRC-32C of "123456789" is 0xE3069283 (RFC 3720); rotated right by 15 bits, plus 0xA282EAD8."""
    crc = 0xE3069283
    assert masked_crc(b"123456789") == ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


def test_one_event_holds_many_values(tmp_path: Path) -> None:
    file = EventFile(tmp_path)
    file.scalars({"a": 1.5, "b/c": math.nan, "d": math.inf}, 7)
    file.close()
    (path,) = tmp_path.glob("events.out.tfevents.*")
    version, event = LegacyEventFileLoader(str(path)).Load()
    assert version.file_version == "brain.Event:2"
    assert (event.step, [value.tag for value in event.summary.value]) == (7, ["a", "b/c", "d"])
    _, modern = EventFileLoader(str(path)).Load()
    values = [float(tensor_util.make_ndarray(value.tensor)) for value in modern.summary.value]
    assert values == pytest.approx([1.5, math.nan, math.inf], nan_ok=True)
    assert modern.summary.value[0].metadata.plugin_data.plugin_name == "scalars"


@pytest.mark.parametrize("seed", range(3))
def test_values_and_steps_come_back_exactly(tmp_path: Path, seed: int) -> None:
    """float32 is what an event holds; 5000 points, more than TensorBoard keeps unless told to."""
    random = np.random.default_rng(seed)
    values = (random.normal(size=5000) * 10.0 ** random.integers(-44, 38, 5000)).tolist()
    values[10:14] = [math.nan, math.inf, -math.inf, 0.0]
    file = EventFile(tmp_path)
    tags = ("x/y", "x/z")
    for step, value in enumerate(values):
        if step % 2:
            file.series(tags, [value, -value], 3 * step)
        else:
            file.scalars({"x/y": value, "x/z": -value}, 3 * step)
        file.scalars({"other": 1.0}, step)  # events of other tags in between leave nothing behind
    file.close()
    for tag, sign in (("x/y", 1), ("x/z", -1)):
        found = scalars(tmp_path, tag)
        assert [step for step, _ in found] == [3 * step for step in range(5000)]
        np.testing.assert_array_equal([value for _, value in found], [sign * float32(value) for value in values])


@pytest.mark.parametrize("value", [1e39, -1e300, 1e-60])
def test_values_beyond_float32(tmp_path: Path, value: float) -> None:
    file = EventFile(tmp_path)
    file.scalars({"x": value}, 0)
    file.close()
    assert scalars(tmp_path, "x") == [(0, float32(value))]


def test_a_resumed_file_hides_what_comes_after(tmp_path: Path) -> None:
    first = EventFile(tmp_path)
    for step in range(10):
        first.scalars({"loss": step}, step)
    first.close()
    second = EventFile(tmp_path, resume_step=6)
    for step in range(6, 9):
        second.scalars({"loss": 100 + step}, step)
    second.close()
    assert len(list(tmp_path.glob("events.*"))) == 2, "files of one second have names of their own"
    expected = [(step, float(step if step < 6 else 100 + step)) for step in range(9)]
    assert scalars(tmp_path, "loss") == expected


def test_an_image_comes_back(tmp_path: Path) -> None:
    file = EventFile(tmp_path)
    file.image("figure", b"\x89PNG and so on", 640, 480, step=3)
    file.close()
    (event,) = read(tmp_path).Images("figure")
    assert (event.encoded_image_string, event.width, event.height, event.step) == (b"\x89PNG and so on", 640, 480, 3)


def test_flushed_events_can_be_read_while_the_file_is_open(tmp_path: Path) -> None:
    file = EventFile(tmp_path)
    file.scalars({"x": 2.0}, 1)
    file.flush()
    assert scalars(tmp_path, "x") == [(1, 2.0)]
    file.close()


def test_hyperparameters_are_what_the_plugin_reads(tmp_path: Path) -> None:
    file = EventFile(tmp_path)
    hparams = {"initializer.c": 2, "optimizer": "sgd", "model.bias": False, "optimizer.lr": 0.003}
    file.plugin(*hparams_start("c=2", hparams))
    file.plugin(*hparams_end(success=True))
    file.close()
    content = read(tmp_path).PluginTagToContent("hparams")
    start = plugin_data_pb2.HParamsPluginData.FromString(content[SESSION_START]).session_start_info
    assert start.group_name == "c=2"
    assert start.hparams["initializer.c"].number_value == 2
    assert start.hparams["optimizer"].string_value == "sgd"
    assert start.hparams["model.bias"].WhichOneof("kind") == "bool_value"
    assert start.hparams["optimizer.lr"].number_value == 0.003
    end = plugin_data_pb2.HParamsPluginData.FromString(content[SESSION_END]).session_end_info
    assert end.status == 1  # STATUS_SUCCESS


# ---- the recorder: tables and events together


def test_headers_are_those_of_the_contract(tmp_path: Path) -> None:
    Recorder(RunFolder(tmp_path)).close()
    contract = {
        "metrics.csv": "step,epoch,lr,batch_loss,batch_error,train_loss,train_error,val_loss,val_error,"
        "test_loss,test_error,examples,gradients,flops,seconds\n",
        "profiles.csv": "snapshot,axis,index,layer,quantity,value,theory,band_low,band_high,source,"
        "redraw_median,redraw_low,redraw_high\n",
    }
    assert {name: (tmp_path / name).read_text() for name in contract} == contract
    assert (",".join(names(METRICS)) + "\n", ",".join(names(PROFILES)) + "\n") == tuple(contract.values())


def test_a_row_of_metrics_in_both_places(tmp_path: Path) -> None:
    recorder = Recorder(RunFolder(tmp_path))
    recorder.metrics({"step": 10, "epoch": 0.1, "lr": 0.003, "batch_loss": math.nan, "val_loss": None, "seconds": 1.25})
    recorder.metrics({"step": 20, "epoch": 2.0, "batch_error": 1 / 3, "val_loss": math.inf, "test_error": 0.5})
    recorder.close("done")
    lines = (tmp_path / "metrics.csv").read_text().splitlines()[1:]
    assert lines == ["10,0.1,0.003,nan,,,,,,,,,,,1.25", "20,2,,,0.3333333333333333,,,inf,,,0.5,,,,"]
    events = read(tmp_path)
    found = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert math.isnan(found.pop("batch/loss")[0][1])
    assert found == {
        "optim/lr": [(10, float32(0.003))],
        "batch/error": [(20, float32(1 / 3))],
        "val/loss": [(20, math.inf)],
        "test/error": [(20, 0.5)],
    }
    assert found.keys() <= {*METRIC_TAGS, "optim/lr"}


ROWS = [
    ProfileRow("module", 1, "input", "activation_norm", 3.5),
    ProfileRow("module", 2, "linear_1", "activation_norm", math.inf, 2.0, 1.0, 4.0),
    ProfileRow("weight", 1, "linear_1", "activation_norm", 0.1, 0.2, 0.05, 0.8),
    ProfileRow("weight", 1, "linear_1", "activation_norm_mean_square", None, 0.3),
    ProfileRow("weight", 2, "linear_2", "activation_norm", math.nan),
    ProfileRow("weight", 12, "linear_12", "gradient_norm", 1e-8, 2e-8),
]


def test_a_profile_over_depth_in_both_places(tmp_path: Path) -> None:
    """TensorBoard's step is the index of the layer."""
    recorder = Recorder(RunFolder(tmp_path))
    recorder.profile("init", ROWS)
    recorder.close()
    assert (tmp_path / "profiles.csv").read_text().splitlines()[1:] == [
        "init,module,1,input,activation_norm,3.5,,,,,,,",
        "init,module,2,linear_1,activation_norm,inf,2,1,4,,,,",
        "init,weight,1,linear_1,activation_norm,0.1,0.2,0.05,0.8,,,,",
        "init,weight,1,linear_1,activation_norm_mean_square,,0.3,,,,,,",
        "init,weight,2,linear_2,activation_norm,nan,,,,,,,",
        "init,weight,12,linear_12,gradient_norm,1e-08,2e-08,,,,,,",
    ]
    norms = scalars(tmp_path, "profile_init/activation_norm")
    assert norms[0] == (1, float32(0.1))
    assert norms[1][0] == 2
    assert math.isnan(norms[1][1])
    assert scalars(tmp_path, "profile_init/gradient_norm") == [(12, float32(1e-8))]
    assert scalars(tmp_path, "profile_init_module/activation_norm") == [(1, 3.5), (2, math.inf)]
    assert scalars(tmp_path, "profile_init/activation_norm_band_low") == [(1, float32(0.05))]
    assert scalars(tmp_path, "profile_init/activation_norm_band_high") == [(1, float32(0.8))]
    assert scalars(tmp_path, "profile_init/activation_norm_mean_square") == [(1, float32(0.3))]


@pytest.mark.parametrize("resume_step", [1, 5, 12, 40])
@pytest.mark.parametrize("times", [1, 2])
def test_resuming_keeps_what_was_before_and_drops_what_came_after(tmp_path: Path, resume_step: int, times: int) -> None:
    """The step of a profile is a layer: hiding later training steps must not hide deeper layers."""
    recorder = Recorder(RunFolder(tmp_path))
    for snapshot in ("init", "5", "20", "final"):
        recorder.profile(snapshot, ROWS)
    for step in (1, 5, 12, 30):
        recorder.metrics({"step": step, "batch_loss": step / 8})
    recorder.close()
    for _ in range(times):
        recorder = Recorder(RunFolder(tmp_path), resume_step)
        recorder.metrics({"step": resume_step + 1, "batch_loss": 9.0})
        recorder.close()
    kept = [step for step in (1, 5, 12, 30) if step <= resume_step]
    steps = [int(line.split(",")[0]) for line in (tmp_path / "metrics.csv").read_text().splitlines()[1:]]
    assert steps == [*kept, resume_step + 1]
    assert scalars(tmp_path, "batch/loss") == [*[(step, step / 8) for step in kept], (resume_step + 1, 9.0)]
    # A profile is taken before the update of its step: that of the step to go on from comes again.
    snapshots = ["init"] + [str(step) for step in (5, 20) if step < resume_step]
    lines = (tmp_path / "profiles.csv").read_text().splitlines()[1:]
    assert [line.split(",")[0] for line in lines] == [name for name in snapshots for _ in ROWS]
    for snapshot in snapshots:
        assert scalars(tmp_path, f"profile_{snapshot}/gradient_norm") == [(12, float32(1e-8))]
        assert [step for step, _ in scalars(tmp_path, f"profile_{snapshot}/activation_norm")] == [1, 2]
        assert scalars(tmp_path, f"profile_{snapshot}_module/activation_norm") == [(1, 3.5), (2, math.inf)]


def test_a_fresh_start_leaves_nothing_of_an_earlier_attempt(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        recorder = Recorder(RunFolder(tmp_path))
        recorder.metrics({"step": 1, "batch_loss": value})
        recorder.profile("init", ROWS[:1])
        recorder.close()
    assert scalars(tmp_path, "batch/loss") == [(1, 2.0)]
    assert len((tmp_path / "profiles.csv").read_text().splitlines()) == 2
