"""How much two estimates of the gradient of a variational autoencoder's encoder vary from draw to draw."""

from __future__ import annotations

import torch
from torch import Tensor

from fanin.parts.models.vae import ESTIMATORS, Vae
from fanin.train.trained_model import TrainedModel

DRAWS = 50


def estimator_variances(own: TrainedModel, inputs: Tensor, targets: Tensor, draws: int = DRAWS) -> dict[str, float]:
    """Total variance of each estimate of the gradient of the loss with respect to the encoder, over draws of codes.

    $sum_i Var(g_i)$ over the encoder's parameters, of the gradient g of the mean loss of a batch; both estimates get
    the same draws, the probe's. Nothing of the network changes.

    Args:
        own: the network with its weights.
        inputs, targets: of the batch, [B, ...] and [B].
        draws: of codes for all of the batch, at least 2.

    Returns:
        by the names of result.json's `evaluation`; empty for another network, and where the encoder is frozen.
    """
    model = own.model
    if not isinstance(model, Vae) or own.probe_dropout is None:
        return {}
    trained = [one for one in model.encoder.parameters() if one.requires_grad]
    if not trained:
        return {}
    chosen, training, generator = model.estimator, model.training, model.noise.generator
    found = {}
    try:
        model.train()
        for estimator in ESTIMATORS:
            model.estimator, model.noise.generator = estimator, own.probe_dropout()
            gradients = []
            for _ in range(draws):
                loss = own.method.loss(own.outputs(inputs), targets, inputs)
                parts = torch.autograd.grad(loss, trained)
                gradients.append(torch.cat([one.flatten() for one in parts]))
            found[f"{estimator}_variance"] = float(torch.stack(gradients).var(0).sum())
    finally:
        model.estimator, model.noise.generator = chosen, generator
        model.train(training)
    return found
