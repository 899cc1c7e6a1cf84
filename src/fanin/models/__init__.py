"""Models: what conf/model names."""

from fanin.models.layers import fans, weight_layers
from fanin.models.mlp import Mlp

__all__ = ["Mlp", "fans", "weight_layers"]
