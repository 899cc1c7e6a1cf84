"""Models: what conf/model names."""

from fanin.parts.models.attention import Attention
from fanin.parts.models.autoencoder import Autoencoder
from fanin.parts.models.cnn import Cnn
from fanin.parts.models.layers import fans, weight_layers
from fanin.parts.models.linear import LinearModel
from fanin.parts.models.mamba import Mamba
from fanin.parts.models.mlp import Mlp
from fanin.parts.models.recurrent import Gru, Lstm, Rnn
from fanin.parts.models.residual_mlp import ResidualMlp
from fanin.parts.models.resnet import Resnet
from fanin.parts.models.surface import Surface
from fanin.parts.models.vae import Vae

__all__ = [
    "Attention",
    "Autoencoder",
    "Cnn",
    "Gru",
    "LinearModel",
    "Lstm",
    "Mamba",
    "Mlp",
    "ResidualMlp",
    "Resnet",
    "Rnn",
    "Surface",
    "Vae",
    "fans",
    "weight_layers",
]
