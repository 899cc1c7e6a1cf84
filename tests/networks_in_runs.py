"""The networks of other_networks as options of fanin's loop: what data, loss and shapes they need there."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

import fanin
from other_networks import WORDS, Experts, Gan, Gpt, LstmModel

TRAINED = 12
"""Training examples; half as many for validation and test."""


class Drawn(fanin.Source):
    """Examples that are drawn: vectors of which the last columns are never the largest, tokens, or images."""

    name: ClassVar[str] = "drawn"

    def __init__(self, *, kind: str) -> None:
        super().__init__(val_size=TRAINED // 2, limit=None)
        self.kind = kind

    def load(self) -> fanin.Dataset:
        """The three parts."""
        random = torch.Generator().manual_seed(0)
        x = {
            "vectors": lambda: torch.randn(2 * TRAINED, 5, generator=random) - torch.tensor([0.0, 0.0, 0.0, 9.0, 9.0]),
            "tokens": lambda: torch.randint(WORDS, (2 * TRAINED, 6), generator=random),
            "images": lambda: torch.randn(2 * TRAINED, 3, 32, 32, generator=random),
        }[self.kind]()
        y = torch.randint(WORDS if self.kind == "tokens" else 3, (2 * TRAINED,), generator=random)
        sizes = (TRAINED, TRAINED // 2, TRAINED // 2)
        named = zip(("train", "val", "test"), x.split(sizes), y.split(sizes), strict=True)
        parts = {f"{part}_{what}": one for part, inputs, answers in named
                 for what, one in (("x", inputs), ("y", answers))}  # fmt: skip
        return fanin.Dataset(name=self.kind, classes=WORDS if self.kind == "tokens" else 3, **parts)


class OwnLoss(fanin.Loss):
    """What the model gives is the loss."""

    name: ClassVar[str] = "own"
    task: ClassVar[str] = "other"

    def __call__(self, outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
        """Its mean."""
        return outputs.mean()

    def error(self, outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
        """None."""
        return torch.zeros((), dtype=torch.float64)

    def guess(self, classes: int) -> None:
        """Not known."""


class NextWord(Gpt):
    """Scores of the word after the last one."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """[B, words]."""
        scores: Tensor = super().forward(x)["logits"][:, -1]
        return scores


class WithItsLoss(Gpt):
    """The loss that it gives itself, of every next word."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """A number."""
        loss: Tensor = super().forward(x, x)["loss"]
        return loss


class Judged(Gan):
    """What the discriminator says of what the generator makes of noise; three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.generator[0], self.discriminator[2] = nn.Linear(5, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3]."""
        scores: Tensor = self.discriminator(self.generator(x))
        return scores


def resnet18(out_features: int) -> nn.Module:
    """torchvision's: a function of an installed package is no option, one's own that calls it is."""
    return torchvision_model("resnet18", num_classes=out_features)


def mobilenet_v3_small(out_features: int) -> nn.Module:
    """torchvision's, without dropout."""
    return torchvision_model("mobilenet_v3_small", num_classes=out_features, dropout=0.0)


def vit_b_16(out_features: int) -> nn.Module:
    """torchvision's, for images of 32 x 32; its head has to be drawn, for 0 stops every gradient below it."""
    model = torchvision_model("vit_b_16", num_classes=out_features, image_size=32)
    nn.init.normal_(model.get_parameter("heads.head.weight"), std=0.02)
    return model


def torchvision_model(name: str, **settings: Any) -> nn.Module:
    """One of torchvision's models."""
    import torchvision

    model: nn.Module = getattr(torchvision.models, name)(**settings)
    return model


MODELS: dict[str, Any] = {
    "gpt": (NextWord, "tokens", "cross_entropy"),
    "gpt with its loss": (WithItsLoss, "tokens", "own"),
    "lstm with its loss": (LstmModel, "tokens", "own"),
    "gan": (Judged, "vectors", "cross_entropy"),
    "experts": (Experts, "vectors", "cross_entropy"),
    "resnet18": (resnet18, "images", "cross_entropy"),
    "mobilenet_v3_small": (mobilenet_v3_small, "images", "cross_entropy"),
    "vit_b_16": (vit_b_16, "images", "cross_entropy"),
}
TORCHVISION = ("resnet18", "mobilenet_v3_small", "vit_b_16")
SLOW = ("gpt", "experts", "gan", *TORCHVISION)
