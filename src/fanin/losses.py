"""What training minimizes, and the share of wrong answers that is reported beside it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Softmax cross-entropy, in nats, as a mean over the batch.

    loss = 1/B sum_b [ln sum_k exp(s_bk) - s_(b, y_b)]; equal logits give ln K.

    Args:
        logits: s [..., B, K], unnormalized; leading axes are runs.
        targets: y [..., B], int64 class indices.

    Returns:
        [...], a scalar tensor for one run, of the logits' dtype.
    """
    if logits.ndim == 2:
        return F.cross_entropy(logits, targets)
    each = F.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="none")
    return each.view(targets.shape).mean(-1)


def error(logits: Tensor, targets: Tensor) -> Tensor:
    """The share of samples whose largest logit is not the target's, in [0, 1].

    Of equal logits the first class is taken, so a network whose outputs vanished answers class 0 everywhere.

    Args:
        logits: [..., B, K]; leading axes are runs.
        targets: [..., B], int64 class indices.

    Returns:
        [...] float64 tensor: 2 wrong of 100 are 0.02 when written out.
    """
    return (logits.argmax(dim=-1) != targets).double().mean(-1)
