"""The theory of a composed configuration: what fanin-theory tells and the phase diagram shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from fanin.run.recipe_theory import RecipeTheory


def theory_of(cfg: DictConfig) -> RecipeTheory:
    """What theory says of a recipe on the batch that its probe looks at.

    Args:
        cfg: without its hydra node.

    Raises:
        UserError: the recipe cannot be made.
    """
    import torch

    from fanin.run.build import load_data, recipe
    from fanin.run.recipe_theory import recipe_theory
    from fanin.train.batches import probe_batch

    made = recipe(cfg)
    data = load_data(cfg, torch.device("cpu"), torch.float32)
    size = min(made.probe.batch_size, len(data.train_x))
    inputs, targets = probe_batch(data.train_x, data.train_y, size, [made.seed])
    return recipe_theory(made, inputs[0], targets[0], made.method.loss.out_features(data.classes))
