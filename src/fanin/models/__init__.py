"""Models: what conf/model names."""

from fanin.models.attention import Attention
from fanin.models.cnn import Cnn
from fanin.models.layers import fans, weight_layers
from fanin.models.linear import LinearModel
from fanin.models.mlp import Mlp
from fanin.models.recurrent import Gru, Lstm, Rnn
from fanin.models.residual_mlp import ResidualMlp
from fanin.models.resnet import Resnet
from fanin.models.surface import Surface
from fanin.models.vae import Vae

__all__ = [
    "Attention",
    "Cnn",
    "Gru",
    "LinearModel",
    "Lstm",
    "Mlp",
    "ResidualMlp",
    "Resnet",
    "Rnn",
    "Surface",
    "Vae",
    "fans",
    "weight_layers",
]
