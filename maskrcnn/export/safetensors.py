"""A checkpoint as a safetensors file, which `maskrcnn.weights.load_checkpoint` reads (its form: weights/safetensors.py)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from maskrcnn import __version__
from maskrcnn.durable import replacing
from maskrcnn.export.installed import check_installed
from maskrcnn.model import MaskRCNN
from maskrcnn.weights.safetensors import ENTRY

# Of last.pt: what only continuing the run reads.
OF_RESUMING = (
    "arguments",
    "optimizer",
    "step",
    "seconds",
    "validation_seconds",
    "weights",
    "averages",
    "block",
    "content",
)


def export_safetensors(model: MaskRCNN, extra: Mapping[str, Any], path: Path) -> None:
    """Write the file. extra: the other entries of the checkpoint, tensors or what JSON has. Raises ValueError for an entry
    that is neither, and if the package is not installed."""
    check_installed("safetensors")
    from safetensors.torch import save

    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}  # they are in channels_last
    kept = {name: value for name, value in extra.items() if name not in OF_RESUMING}
    tensors |= {ENTRY + name: value.contiguous() for name, value in kept.items() if isinstance(value, Tensor)}
    texts = {name: value for name, value in kept.items() if not isinstance(value, Tensor)}
    metadata = {"maskrcnn": __version__, "config": json.dumps(model.config.to_dict())}
    try:
        metadata["extra"] = json.dumps(texts)
    except TypeError as error:
        raise ValueError(
            f"of the entries {', '.join(texts)} one is neither a tensor nor plain values ({error})"
        ) from error
    with replacing(path) as partial:  # save_file would make a file that nobody else can read
        partial.write_bytes(save(tensors, metadata))
