"""This project's own checkpoints: the model's config and weights, and what else a run wants to keep."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from maskrcnn.config import Config
from maskrcnn.model import MaskRCNN
from maskrcnn.weights.version_0_1 import current_names


def trained_on(path: str | os.PathLike[str]) -> list[str]:
    """Fingerprints of the images that a checkpoint of train.py was trained on; [] if it does not record them."""
    return list(read_checkpoint(Path(path)).get("trained_on", ()))


def save_checkpoint(path: str | os.PathLike[str], model: MaskRCNN, **extra: Any) -> None:
    """Write the model's config and weights, and the entries `extra`. If writing fails, an existing file stays intact."""
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    torch.save({"config": model.config.to_dict(), "model": model.state_dict(), **extra}, partial)
    partial.replace(path)


def load_checkpoint(path: str | os.PathLike[str]) -> tuple[MaskRCNN, dict[str, Any]]:
    """The model that `save_checkpoint` wrote, built from the config in the file, and the other entries of the file.

    path: a checkpoint, or a run folder, whose best checkpoint is loaded. Raises ValueError, naming the file, if it cannot
    be read or is not such a checkpoint.
    """
    checkpoint = read_checkpoint(Path(path))
    if not all(isinstance(checkpoint.get(entry), Mapping) for entry in ("config", "model")):
        raise ValueError(f"{path}: not a checkpoint of train.py, which has the entries config and model")
    try:
        model = MaskRCNN(Config.from_dict(current_names(checkpoint.pop("config"))))
        model.load_state_dict(checkpoint.pop("model"))
    except (ValueError, RuntimeError, TypeError) as error:
        reasons = str(error).splitlines()
        more = f" and {len(reasons) - 2} more lines" if len(reasons) > 2 else ""
        raise ValueError(
            f"{path}: a checkpoint of another version of this model ({' '.join(reasons[:2]).strip()[:300]}{more})"
        ) from error
    return model, checkpoint


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The dict in a file that torch.save wrote, or in the best checkpoint of a run folder. Raises ValueError."""
    if path.is_dir():  # a run that was stopped before its first validation has no best checkpoint yet
        path = next((path / name for name in ("best.pt", "last.pt") if (path / name).exists()), path / "best.pt")
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give the path of a checkpoint, such as runs/.../best.pt")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the bytes of a damaged file can make the unpickler raise anything, KeyError included
        # The first sentence only: PyTorch goes on to advise loading the file without its safety check.
        reason = (str(error).splitlines() or [type(error).__name__])[0].partition(". ")[0]
        raise ValueError(
            f"{path}: not a readable PyTorch checkpoint; was it cut off while copying? ({reason})"
        ) from error
    if not isinstance(checkpoint, Mapping):
        raise ValueError(f"{path}: holds a {type(checkpoint).__name__}, not a dict of weights")
    return dict(checkpoint)
