"""A part of one's own for every group: each does something simple, so that a test can compute what they do together."""

import math
from dataclasses import dataclass, replace

import torch
from torch import nn

from fanin import (
    Augmentation,
    Averaging,
    BatchSchedule,
    BoundedClipping,
    Dataset,
    GradientNoise,
    Initializer,
    Loss,
    Normalization,
    Penalty,
    Preprocess,
    Probe,
    Regularizer,
    Scaling,
    Schedule,
    Source,
)
from fanin.parts.regularizers import Patience


class Waves(Source):
    """48 places on some waves, of three classes; 12 of them for the test."""

    name = "waves"

    def __init__(self, *, features=4, val_size=6):
        super().__init__(val_size=val_size, limit=None)
        self.features = features

    def load(self):
        number = torch.arange(48)
        x, y = torch.sin(number[:, None] * torch.arange(1, self.features + 1) / 7), number % 3
        parts = number[: 36 - self.val_size], number[36 - self.val_size : 36], number[36:]
        return Dataset(self.name, 3, *[one[part] for part in parts for one in (x, y)])


class Doubled(Preprocess):
    """x <- 2 x."""

    def __call__(self, data):
        return replace(data, train_x=2 * data.train_x, val_x=2 * data.val_x, test_x=2 * data.test_x)


class Shift(Augmentation):
    """x <- x + by."""

    needs_image = False

    def __init__(self, *, by):
        self.by = by

    def __call__(self, images, generator):
        return images + self.by


class Net(nn.Module):
    """One hidden layer, and a road past it."""

    def __init__(self, *, in_features, out_features, activation, normalization, width):
        super().__init__()
        self.inner, self.norm, self.act = nn.Linear(in_features, width), normalization.make(width), activation()
        self.outer, self.past = nn.Linear(width, out_features), nn.Linear(in_features, out_features, bias=False)

    def forward(self, x):
        x = x.flatten(1)
        return self.outer(self.act(self.norm(self.inner(x)))) + self.past(x)


class Sine(nn.Module):
    """sin(frequency x)."""

    def __init__(self, frequency=1.0):
        super().__init__()
        self.frequency = frequency

    def forward(self, x):
        return torch.sin(self.frequency * x)


class Halved(nn.Module):
    """x / 2."""

    def forward(self, x):
        return x / 2


@dataclass(kw_only=True)
class Halving(Normalization):
    """A module that halves stands between the layers."""

    def make(self, features, dims=0):
        return Halved()


class Ramp(Initializer):
    """Weights rise evenly from -top to top."""

    def __init__(self, *, top):
        self.top = top

    def variance(self, fan_in, fan_out):
        return None

    def fill(self, weight, fan_in, fan_out, generator):
        weight.copy_(torch.linspace(-self.top, self.top, weight.numel()).view_as(weight))


class Twice(Loss):
    """Twice the cross-entropy."""

    name = "twice"

    def __call__(self, outputs, targets, inputs):
        return 2 * nn.functional.cross_entropy(outputs, targets)

    def guess(self, classes):
        return 2 * math.log(classes)


@dataclass(kw_only=True)
class Quartic(Penalty):
    """strength/4 * sum w^4."""

    def penalty(self, weights):
        return self.strength / 4 * sum((w**4).sum() for w in weights)

    @staticmethod
    def pull(weights, strength):
        return [strength * w**3 for w in weights]


@dataclass(kw_only=True)
class Shrinking(BoundedClipping):
    """g <- bound g."""

    def __call__(self, gradients, parameters):
        for g in gradients:
            g.mul_(self.bound)


class Rising(GradientNoise):
    """Noise of variance eta (1 + t)."""

    def __init__(self, *, eta):
        self.eta = eta

    def variance(self, step):
        return self.eta * (1 + step)


class HalfSign(torch.optim.Optimizer):
    """theta <- theta - lr (share sign(g) + (1 - share) g)."""

    def __init__(self, params, lr, share=0.5):
        super().__init__(params, {"lr": lr, "share": share})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p -= group["lr"] * (group["share"] * p.grad.sign() + (1 - group["share"]) * p.grad)


class Halfway(Averaging):
    """average <- (average + theta) / 2."""

    def weight(self, step):
        return 0.5


@dataclass(kw_only=True)
class Fading(Schedule):
    """lr factor^t."""

    factor: float = 0.8

    def after_warmup(self, t, lr):
        return lr * self.factor**t


class OneMore(BatchSchedule):
    """One example more in each step."""

    def size(self, step, base, examples):
        return min(base + step, examples)

    def seen(self, step, base, examples):
        return sum(self.size(at, base, examples) for at in range(step))


class Squared(Scaling):
    """(B / 4)^2."""

    def factor(self, batch_size):
        return (batch_size / 4) ** 2


class Squares(Probe):
    """Curves at square numbers of steps, a profile at step 2."""

    def __init__(self, *, size):
        super().__init__(batch_size=size, every=1, curves=["weight_norm", "gradient_norm"])

    def curve_due(self, step):
        return math.isqrt(step) ** 2 == step

    def profile_due(self, step):
        return step in (0, 2)


# ---- regularizers of other kinds than a penalty: one for each moment of training


class Times(Loss):
    """A multiple of a loss."""

    name = "times"

    def __init__(self, inner, factor):
        self.inner, self.factor = inner, factor

    def __call__(self, outputs, targets, inputs):
        return self.factor * self.inner(outputs, targets, inputs)

    def guess(self, classes):
        return None


class Multiplied(Regularizer):
    """The gradient of a multiple of the loss is taken."""

    def __init__(self, *, factor):
        self.factor = factor

    def minimized(self, loss):
        return Times(loss, self.factor)


class Aside(Regularizer):
    """The gradient is taken with every parameter moved by as much, uphill."""

    key = "by"

    def __init__(self, *, by):
        self.by = by

    @staticmethod
    def displacement(gradients, number):
        return [number * g.sign() for g in gradients]


class Halves(Regularizer):
    """w <- share w before the step."""

    key = "share"

    def __init__(self, *, share):
        self.share = share

    @staticmethod
    def before_step(weights, number):
        for weight in weights:
            weight.mul_(number)


class Grid(Regularizer):
    """After the step weights lie on a grid."""

    key = "spacing"

    def __init__(self, *, spacing):
        self.spacing = spacing

    @staticmethod
    def after_step(weights, number):
        for weight in weights:
            weight.copy_((weight / number).round() * number)


class Doubling(nn.Module):
    """2 x."""

    def forward(self, x):
        return 2 * x


class Amplified(Regularizer):
    """Every hidden layer is followed by a module that doubles."""

    p = 0.5

    def make(self, p):
        return Doubling()


class CountDown(Patience):
    """Ends after as many evaluations."""

    def update(self, value):
        super().update(value)
        self.patience -= 1
        return self.patience == 0


class Few(Regularizer):
    """A run ends after a few evaluations."""

    monitor = "batch_loss"

    def __init__(self, *, evaluations):
        self.evaluations = evaluations

    def new(self):
        return CountDown(self.evaluations)
