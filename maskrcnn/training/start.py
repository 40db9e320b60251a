"""The config of the model that a run starts with: a preset's, or that of the weights it starts from."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from maskrcnn.config import Config
from maskrcnn.presets import PAPER_PRESETS

SMALL_IMAGES = ("lisc", "small")  # presets that see images in which cells are as large as CELL_SIDE
PRESETS: dict[str, Callable[[], Config]] = {
    "lisc": Config.lisc,
    "small": Config.small,
    "torchvision": Config.torchvision,
    "torchvision_v2": Config.torchvision_v2,
    "weights": Config,
    **{name: functools.partial(Config.paper, name) for name in PAPER_PRESETS},
}


def starting_config(preset: str, of_weights: Config | None, size: int, changes: Mapping[str, Any]) -> Config:
    """preset: one of PRESETS. of_weights: the config of the detector that training starts with, to be kept; None: that of
    the preset. size: min_size of SMALL_IMAGES. changes: fields with other values."""
    config = PRESETS[preset]()
    if of_weights:
        # What is frozen and which detections are returned was chosen for another run, or for use.
        config = dataclasses.replace(
            of_weights, frozen_stages=config.frozen_stages, box_score_thresh=config.box_score_thresh
        )
    if preset in SMALL_IMAGES:
        config = dataclasses.replace(config, min_size=size, max_size=2 * size)
    return dataclasses.replace(config, **changes)


def check_frozen(weights: str, config: Config, missing: Sequence[str]) -> None:
    """Raise ValueError if frozen norms are among the parameters that --weights do not fill: they would never be learnt."""
    norms = [name.removesuffix(".running_var") for name in missing if name.endswith(".running_var")]
    if config.norm == "frozen_batchnorm" and norms:
        raise ValueError(
            f"{weights} lacks {len(norms)} norms of this model, such as {norms[0]}, which are frozen and would stay as they "
            f"are: give weights with a {config.backbone}, or another --preset"
        )
