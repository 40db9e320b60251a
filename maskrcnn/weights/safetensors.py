"""Checkpoints in the format safetensors, which holds tensors and text and nothing that could run. `maskrcnn export` writes
them; `load_checkpoint` reads them as any other.

A file of this project has two texts in its metadata, both JSON: `config`, the fields of a Config, and `extra`, the other
entries of the checkpoint but those that are tensors, which are named ENTRY + their name. Its other tensors are the weights.
"""

import json
from pathlib import Path
from typing import Any

from torch import Tensor

ENTRY = "entry:"


def read_safetensors(path: Path) -> dict[str, Any]:
    """What `read_checkpoint` returns: the entries config, model and others, or the tensors alone of a file of another
    program. Raises ValueError, naming the file, if it cannot be read."""
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise ValueError(f"{path}: to read it the package safetensors is needed: pip install '.[export]'") from error
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a readable safetensors file; was it cut off while copying? ({error})") from error
    if "config" not in metadata:
        return dict(tensors)
    try:
        config, extra = json.loads(metadata["config"]), json.loads(metadata.get("extra", "{}"))
        entries = {name.removeprefix(ENTRY): value for name, value in tensors.items() if name.startswith(ENTRY)}
        model = {name: value for name, value in tensors.items() if not name.startswith(ENTRY)}
        return {"config": dict(config), "model": model, **extra, **entries}
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: its metadata are not those of a checkpoint of this project ({error})") from error
