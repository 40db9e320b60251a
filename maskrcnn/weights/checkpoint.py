"""This project's own checkpoints: the model's config and weights, and what else a run wants to keep."""

import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maskrcnn import __version__
from maskrcnn.config import Config
from maskrcnn.durable import replacing
from maskrcnn.model import MaskRCNN
from maskrcnn.weights.safetensors import read_safetensors
from maskrcnn.weights.version_0_1 import current_names

# What programs put in front of all names of a model that they wrap: DataParallel, torch.compile, Lightning, AveragedModel.
PREFIXES = ("module.", "_orig_mod.", "model.")
TEXT = bytes(range(32, 127)) + b"\t\n\r"
OF_WRAPPERS = ("n_averaged",)  # entries of their own
ENTRIES = ("model", "state_dict", "model_state_dict")  # where programs keep the weights in a checkpoint


def save_checkpoint(path: str | os.PathLike[str], model: MaskRCNN, previous: Path | None = None, **extra: Any) -> None:
    """Write the model's config and weights, the version of this program, and the entries `extra`. The file that is replaced
    is kept as `previous`, if given. Raises OSError, naming the path, if it cannot be written; what was there stays then."""
    content = {"config": model.config.to_dict(), "model": model.state_dict(), "version": __version__, **extra}
    with replacing(Path(path), previous) as partial:
        torch.save(content, partial)


def is_own(checkpoint: Mapping[str, Any]) -> bool:
    """Whether `save_checkpoint` wrote it."""
    return all(isinstance(checkpoint.get(entry), Mapping) for entry in ("config", "model"))


def build(path: str | os.PathLike[str], checkpoint: Mapping[str, Any], what: str) -> MaskRCNN:
    """The model of the entries config and model. what: the file is where they do not fit each other, for the ValueError that
    is raised then."""
    try:
        model = MaskRCNN(Config.from_dict(current_names(checkpoint["config"])))
        model.load_state_dict(checkpoint["model"])
    except (ValueError, RuntimeError, TypeError) as error:
        reasons = str(error).splitlines()
        more = f" and {len(reasons) - 2} more lines" if len(reasons) > 2 else ""
        raise ValueError(f"{path}: {what} ({' '.join(reasons[:2]).strip()[:300]}{more})") from error
    check_finite(path, model.state_dict())
    return model


def check_finite(where: str | os.PathLike[str], state: Mapping[str, Any]) -> None:
    """Raise ValueError if a weight is infinite or not a number, with which a model finds nothing and says nothing."""
    for name, value in state.items():
        if isinstance(value, Tensor) and not value.is_meta and not bool(value.isfinite().all()):
            raise ValueError(
                f"{where}: {name} has values that are not finite; the file is damaged, or its training diverged"
            )


def unwrapped(state: Mapping[str, Any]) -> dict[str, Any]:
    """The weights of a checkpoint of any program, without the prefixes of wrappers."""
    entry = next((name for name in ENTRIES if isinstance(state.get(name), Mapping)), None)
    if entry:
        return unwrapped(state[entry])
    state = {name: value for name, value in state.items() if name not in OF_WRAPPERS}
    prefix = next((prefix for prefix in PREFIXES if state and all(name.startswith(prefix) for name in state)), "")
    return unwrapped({name.removeprefix(prefix): value for name, value in state.items()}) if prefix else state


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The dict in a file that torch.save wrote, or in the best checkpoint of a run folder. Raises ValueError."""
    path = file_of(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give the path of a checkpoint, such as runs/.../best.pt")
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the bytes of a damaged file can make the unpickler raise anything, KeyError included
        raise ValueError(f"{path}: not a readable PyTorch checkpoint; {_reason(path, str(error))}") from error
    if not isinstance(checkpoint, Mapping):
        raise ValueError(f"{path}: holds a {type(checkpoint).__name__}, not a dict of weights")
    if is_own(checkpoint):
        _check_intact(path)
    return dict(checkpoint)


def _reason(path: Path, said: str) -> str:
    """Why a file is none, by its name, its content and what torch.load said."""
    with path.open("rb") as file:
        start = file.read(200)
    if path.suffix == ".onnx":
        return "an ONNX file is a program without the names of its weights: give the best.pt that it was made of"
    if zipfile.is_zipfile(path) and any("/code/" in name for name in zipfile.ZipFile(path).namelist()):
        return "it is a program of TorchScript: write the state_dict() of the model in it with torch.save"
    if found := re.search(r"(?:Unsupported global: GLOBAL|Unsupported class) ([\w.]+)", said):
        return f"it needs code to be read ({found[1]}), and none is run: write model.state_dict() with torch.save"
    if start.strip() and all(byte in TEXT for byte in start):
        return "it is text: a web page in place of a download, or a pointer of git-lfs?"
    # The first sentence only: PyTorch goes on to advise loading the file without its safety check.
    return f"was it cut off while copying? ({(said.splitlines() or [''])[0].partition('. ')[0]})"


def _check_intact(path: Path) -> None:
    """Raise ValueError if a bit of the file is not what was written: each entry of the archive has a checksum (CRC-32), at
    which torch.load does not look."""
    if not zipfile.is_zipfile(path):
        return  # of PyTorch before 1.6
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError) as error:  # whatever a flipped bit claims
        damaged = str(error)
    if damaged:
        raise ValueError(f"{path}: damaged on the disk or in a copy: the checksum of {damaged} is wrong")


def file_of(path: Path) -> Path:
    """A file as it is, or the best checkpoint of a run folder; the last one of a run that was stopped before its first
    validation."""
    if not path.is_dir():
        return path
    return next((path / name for name in ("best.pt", "last.pt") if (path / name).exists()), path / "best.pt")
