"""What TensorBoard's plugins need to know of a run: its hyperparameters and the layout of its charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from google.protobuf.struct_pb2 import Value
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.custom_scalar.layout_pb2 import (
    Category,
    Chart,
    Layout,
    MarginChartContent,
    MultilineChartContent,
)
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2

from fanin.record.columns import PARTS, names

SESSION_START = "_hparams_/session_start_info"
SESSION_END = "_hparams_/session_end_info"
EXPERIMENT = "_hparams_/experiment"
NORMS = ("activation", "gradient")
METRIC_TAGS = tuple(name.replace("_", "/") for name in names(PARTS))


def hparams_start(name: str, hparams: Mapping[str, Any]) -> tuple[str, str, bytes]:
    """The (tag, plugin, content) that opens a session: one run with its hyperparameters."""
    info = plugin_data_pb2.SessionStartInfo(group_name=name)
    for key, value in hparams.items():
        info.hparams[key].CopyFrom(_value(value))
    return SESSION_START, "hparams", _content(session_start_info=info)


def hparams_end(*, success: bool) -> tuple[str, str, bytes]:
    """The (tag, plugin, content) that ends a session."""
    status = api_pb2.Status.STATUS_SUCCESS if success else api_pb2.Status.STATUS_FAILURE
    return SESSION_END, "hparams", _content(session_end_info=plugin_data_pb2.SessionEndInfo(status=status))


def hparams_experiment(columns: Mapping[str, Sequence[Any]]) -> tuple[str, str, bytes]:
    """The (tag, plugin, content) that names a grid's hyperparameters, with the values each took, and its metrics."""
    experiment = api_pb2.Experiment()
    for name, values in columns.items():
        numeric = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
        kind = api_pb2.DataType.DATA_TYPE_FLOAT64 if numeric else api_pb2.DataType.DATA_TYPE_STRING
        experiment.hparam_infos.add(name=name, type=kind)
    for tag in METRIC_TAGS:
        experiment.metric_infos.add(name=api_pb2.MetricName(tag=tag), display_name=tag)
    return EXPERIMENT, "hparams", _content(experiment=experiment)


def custom_scalar_layout() -> Summary:
    """Charts of loss and error over steps, and of the study's profiles over depth, norms with their bands."""
    profiles = [
        *(_banded(f"log10 {what} norm at init, with its band", f"profile_init/{what}_norm") for what in NORMS),
        _lines("weight variance at init and at the end", r"profile_(init|final)/weight_variance$"),
        _lines("weight movement at the end", r"profile_final/weight_movement$"),
    ]
    return _laid_out(Layout(category=[_training(), Category(title="over depth", chart=profiles)]))


def quantile_layout(quantiles: Sequence[str]) -> Summary:
    """Charts of the second of three quantiles over seeds between the others: the runs' tags behind these prefixes."""
    low, middle, high = quantiles
    charts = []
    for part, what in product(("batch", "train", "val"), ("loss", "error")):
        tags = {"lower": f"{low}/{part}/{what}", "value": f"{middle}/{part}/{what}", "upper": f"{high}/{part}/{what}"}
        series = [MarginChartContent.Series(**tags)]
        charts.append(Chart(title=f"{part} {what}, median and quantiles", margin=MarginChartContent(series=series)))
    return _laid_out(Layout(category=[_training(), Category(title="over seeds", chart=charts)]))


def _training() -> Category:
    """Loss and error over steps, of runs or of their means; TensorBoard shows a chart of several runs' layouts once."""
    charts = [_lines(what, rf"(batch|train|val|test)/{what}") for what in ("loss", "error")]
    return Category(title="training", chart=charts)


def _laid_out(layout: Layout) -> Summary:
    tensor = TensorProto(dtype=DT_STRING, string_val=[layout.SerializeToString()])
    summary = Summary()
    plugin = SummaryMetadata.PluginData(plugin_name="custom_scalars")
    summary.value.add(tag="custom_scalars__config__", tensor=tensor, metadata=SummaryMetadata(plugin_data=plugin))
    return summary


def _banded(title: str, norm: str) -> Chart:
    """A chart of a norm with its band."""
    value, low, high = (f"{norm}{end}_log10" for end in ("", "_band_low", "_band_high"))
    series = MarginChartContent.Series(value=value, lower=low, upper=high)
    return Chart(title=title, margin=MarginChartContent(series=[series]))


def _lines(title: str, pattern: str) -> Chart:
    """A chart of every tag that a regular expression matches."""
    return Chart(title=title, multiline=MultilineChartContent(tag=[pattern]))


def _content(**part: Any) -> bytes:
    data: bytes = plugin_data_pb2.HParamsPluginData(version=0, **part).SerializeToString()
    return data


def _value(value: Any) -> Value:
    if isinstance(value, bool):
        return Value(bool_value=value)
    if isinstance(value, (int, float)):
        return Value(number_value=value)
    return Value(string_value=str(value))
