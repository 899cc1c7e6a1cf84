"""The stages that a network is made of, and what each does to a signal on its way up and to a gradient on its way down.

A law of a model is put together from these, in the order in which the model runs its parts. All formulas are those of
infinite width with the first order in 1/n beside them: a stage adds noise to the logarithm of each example's squared
norm, and its mean falls by half of the noise's variance. Notation as in signals.py; r and g are the correlations of two
examples' signals and gradients.
"""

from fanin.theory.stages.activated import Activated
from fanin.theory.stages.attended import Attended, MeanOfPlaces, Shifted
from fanin.theory.stages.base import NoRule, Place, Shared, Stage
from fanin.theory.stages.convolved import Convolution
from fanin.theory.stages.dropped import Dropped
from fanin.theory.stages.gated import Gated
from fanin.theory.stages.linear import Linear
from fanin.theory.stages.normalized import BatchNormalized, Normalized
from fanin.theory.stages.plain import Data, Flattened, Passed, Unknown
from fanin.theory.stages.pooled import Averaged, Largest
from fanin.theory.stages.recurrent import Recurrent
from fanin.theory.stages.sums import Added, meet
from fanin.theory.stages.times import Nothing, Once

__all__ = [
    "Activated",
    "Added",
    "Attended",
    "Averaged",
    "BatchNormalized",
    "Convolution",
    "Data",
    "Dropped",
    "Flattened",
    "Gated",
    "Largest",
    "Linear",
    "MeanOfPlaces",
    "NoRule",
    "Normalized",
    "Nothing",
    "Once",
    "Passed",
    "Place",
    "Recurrent",
    "Shared",
    "Shifted",
    "Stage",
    "Unknown",
    "meet",
]
