"""The Gauss-Newton method with the dense matrix."""

from __future__ import annotations

from fanin.parts.optimizers.derivatives import Product
from fanin.parts.optimizers.newton import Newton
from fanin.parts.optimizers.objective import Objective


class GaussNewton(Newton):
    """Newton's method with the network linearized: a matrix that is positive semidefinite for every convex loss.

    $theta <- theta - a (J^T H_L J + H_p + damping I)^-1 g$, with the Jacobian J of the batch's outputs, the Hessian H_L
    of the loss by the outputs and H_p of the penalty. This is the generalized form: for squared error H_L is a
    multiple of I and it is the classical one, for softmax cross-entropy the matrix is the Fisher information. The
    textbook's sum over the examples is a mean here, so that the damping means the same for every batch.
    Source: Levenberg 1944; Schraudolph 2002.

    Args:
        params: what to optimize.
        lr: a, >= 0.
        damping: added to the diagonal, >= 0; needed where P is more than outputs times examples.
        max_parameters: refuse a model with more, >= 1.

    Raises:
        OptionError: a value is out of range.
    """

    matrix = "Gauss-Newton matrix"

    def curvature(self, objective: Objective) -> Product:
        """J^T H_L J + H_p."""
        return objective.gauss_newton_product()
