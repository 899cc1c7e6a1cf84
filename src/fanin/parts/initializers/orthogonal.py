"""Orthogonal weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fanin.parts.initializers.draws import draw, write
from fanin.parts.initializers.gains import GainedWeights
from fanin.parts.models.layers import fans
from fanin.theory.weights import Weights


@dataclass(kw_only=True)
class Orthogonal(GainedWeights):
    """A random matrix with orthogonal rows or columns, whichever are fewer.

    $W W^T = gain^2 I$ for $out <= in$, $W^T W = gain^2 I$ otherwise; Q of the QR decomposition of standard normals,
    its signs such that Q is uniform over the orthogonal matrices. Kernels count as [out, in * receptive].
    Source: Saxe et al. 2014.

    Args:
        gain: factor on the matrix, > 0; auto: the activation's own, see `gain_of`.
        activation: makes the model's activation, for auto.
        bias_variance: variance of a bias, drawn normal, >= 0; above 0 only for models with biases.
        bias, forget_bias: means of the biases, see `ConstantBiases`.

    Raises:
        OptionError: a value is out of range.
        UserError: no gain is known for the activation.

    >>> import torch
    >>> weight = torch.empty(2, 5)
    >>> Orthogonal(gain=2.0).fill(weight, 5, 2, torch.Generator().manual_seed(0))
    >>> torch.allclose(weight @ weight.T, 4 * torch.eye(2), atol=1e-6)
    True
    """

    def variance(self, fan_in: int, fan_out: int) -> None:
        """None: the entries of an orthogonal matrix depend on each other."""

    def weight_law(self, layer: nn.Module) -> Weights:
        """Rows of length gain where they are as few as the columns, columns of length gain otherwise."""
        fan_in, _ = fans(layer)
        variance = self.factor**2 * min(1.0, fan_in / len(layer.get_parameter("weight")))
        return Weights(variance, "orthogonal", self.bias_variance_of(fan_in))

    def fill(self, weight: Tensor, fan_in: int, fan_out: int, generator: torch.Generator) -> None:
        """Overwrite a weight with an orthogonal draw."""
        normals = draw(weight.shape, 1.0, "normal", generator).flatten(1).double()
        wide = normals.shape[0] < normals.shape[1]
        # In float64, so that decompositions of different machines round to the same float32 weights.
        q, r = torch.linalg.qr(normals.T if wide else normals)
        q = q * torch.where(r.diagonal() < 0, -1.0, 1.0).double()
        write(weight, (self.factor * (q.T if wide else q)).float().reshape(weight.shape))
