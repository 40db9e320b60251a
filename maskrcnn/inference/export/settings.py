"""predictions.json: what results were made with, and so whether a later call may replace them or go on with them."""

import argparse
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from maskrcnn import MaskRCNN, __version__
from maskrcnn.durable import replacing_text
from maskrcnn.inference.export import annotations
from maskrcnn.inference.export.finished import RECORDS
from maskrcnn.inference.export.folder import OURS, SETTINGS, check_unused, check_writable, remove_results
from maskrcnn.inference.export.writer import PredictionWriter

NO_SETTINGS = ("inputs", "checkpoint", "out", "overwrite", "skip_existing", "command")  # which a later call may change


class Results:
    """The output folder of a call, and what is known about its results."""

    def __init__(self, args: argparse.Namespace, model: MaskRCNN, left_out: Sequence[str]) -> None:
        """left_out: what is told about files that are no input."""
        self.args = args
        self.earlier = read_settings(args.out)
        used = {name: _plain(value) for name, value in vars(args).items() if name not in NO_SETTINGS}
        self.content: dict[str, Any] = {
            "maskrcnn": __version__,
            "finished": False,
            "checkpoint": str(args.checkpoint),
            "weights_sha256": _digest(model),
            "classes": list(model.config.class_names),
            "arguments": used,
            "left_out": list(left_out),
        }

    def prepare(self, outputs: Iterable[Path]) -> None:
        """Make the folder ready to write to. outputs: the paths of the images' files, see `Input`. Raises ValueError, naming
        the ways on, if there are results that may not be touched, and OSError."""
        out = self.args.out
        check_writable(out)
        if self.args.annotations and self.args.annotations.resolve() == out.resolve():
            raise ValueError(
                f"{out}: is the folder of --out; a data set needs one of its own, choose another --annotations"
            )
        is_again = self.args.overwrite or self.args.skip_existing
        if not is_again:
            check_unused(out, outputs)
        if self.args.skip_existing:
            check_same_settings(out, self.earlier, self.content)
        if folder := self.args.annotations:
            check_writable(folder, "--annotations")
            annotations.check_uncorrected(folder, self.earlier, is_again)
        if self.args.overwrite:
            remove_results(out)
        out.mkdir(parents=True, exist_ok=True)
        _write(out, {**self.content, annotations.DIGEST: self.earlier.get(annotations.DIGEST, "")})

    def finish(
        self,
        writer: PredictionWriter,
        counts: Mapping[str, int],
        reason: str,
        warnings: Sequence[str],
        failed: Sequence[str],
        digest: str,
        is_whole: bool,
    ) -> None:
        """Write what came out. reason: why images are shown at their scale; digest: of the annotations. Raises OSError."""
        scales = {"smallest": min(writer.scales), "largest": max(writer.scales)} if writer.scales else None
        outcome = {
            "finished": is_whole,
            "images": len(writer.done),
            "cells": dict(counts),
            "scale": scales,  # pixels of the model per pixel of an image
            "size_of_cells": reason,
            "failed": list(failed),
            "warnings": list(warnings),
            annotations.DIGEST: digest,
        }
        _write(self.args.out, {**self.content, **outcome})


def check_same_settings(out: Path, earlier: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Raise ValueError if the results in out cannot be gone on with: they are of another version, or were made with other
    settings, so that the tables would mix what cannot be compared."""
    if not earlier or not (out / RECORDS).exists():
        if any((out / name).exists() for name in OURS):
            reason = f"holds results, but not {SETTINGS} and {RECORDS}, which are needed to go on with them"
            raise ValueError(f"{out}: {reason}; give another --out, or --overwrite to replace them")
        return
    if earlier.get("weights_sha256") != settings["weights_sha256"]:
        was = earlier.get("checkpoint")
        raise ValueError(f"{out}: its results are of another model, {was}; give that checkpoint or another --out")
    before, now = earlier.get("arguments", {}), settings["arguments"]
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            was, new = (_as_option(name, values.get(name)) for values in (before, now))
            raise ValueError(f"{out}: its results were made {was}, not {new}; say the same, or give another --out")


def _as_option(name: str, value: Any) -> str:
    """with --score-threshold 0.8, without --pixel-size"""
    option = f"--{name.replace('_', '-')}"
    if value in (None, False, []):
        return f"without {option}"
    shown = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"with {option}" + f" {shown}" * (value is not True)


def read_settings(out: Path) -> dict[str, Any]:
    """What predictions.json says; {} without one that can be read."""
    try:
        content = json.loads((out / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(out: Path, content: Mapping[str, Any]) -> None:
    with replacing_text(out / SETTINGS) as file:
        file.write(json.dumps(content, indent=2) + "\n")


def _plain(value: Any) -> Any:
    """As JSON gives it back."""
    if isinstance(value, Path):
        return str(value.resolve())
    return list(value) if isinstance(value, tuple) else value


def _digest(model: MaskRCNN) -> str:
    """Of the weights, so that a checkpoint is known again under another name."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()
