"""What training minimizes, and the share of wrong answers that is reported beside it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Softmax cross-entropy, in nats, as a mean over the batch.

    loss = 1/B sum_b [ln sum_k exp(s_bk) - s_(b, y_b)]; equal logits give ln K.

    Args:
        logits: s [B, K], unnormalized.
        targets: y [B], int64 class indices.

    Returns:
        scalar tensor of the logits' dtype.
    """
    return F.cross_entropy(logits, targets)


def error(logits: Tensor, targets: Tensor) -> Tensor:
    """The share of samples whose largest logit is not the target's, in [0, 1].

    Of equal logits the first class is taken, so a network whose outputs vanished answers class 0 everywhere.

    Args:
        logits: [B, K].
        targets: [B], int64 class indices.

    Returns:
        scalar float64 tensor: 2 wrong of 100 are 0.02 when written out.
    """
    return (logits.argmax(dim=-1) != targets).double().mean()
