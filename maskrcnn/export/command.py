"""Write a model for other programs. The command `maskrcnn export`."""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from maskrcnn.export.onnx import Outputs, export_onnx
from maskrcnn.export.safetensors import export_safetensors
from maskrcnn.export.torchvision import export_torchvision
from maskrcnn.inference.image_io import readable
from maskrcnn.model import MaskRCNN
from maskrcnn.weights import load_checkpoint, source_of
from maskrcnn.weights.checkpoint import file_of

DESCRIPTION = "Write a model for other programs: as ONNX, for torchvision, or as safetensors."
EPILOG = """--to onnx: one file that ONNX Runtime and others run without Python or PyTorch. It detects as the model does.
  image      float32 [3, height, width] in 0..1, RGB, of any size: it is resized and normalised inside, so that its shorter
             side becomes min_size of the config. (maskrcnn predict enlarges as train.py did, and divides large images into
             tiles: for the same detections, resize an image before, and give tiles of it.)
  boxes      [D, 4] x1, y1, x2, y2 in pixels of the image, best first; pixel i covers i to i + 1
  labels     [D] int64: 1 is the first class; the names are in the metadata, class_names
  scores     [D]
  masks      [D, 1, height, width] probabilities; those above 0.5 are the object
  roi_masks  [D, 1, 28, 28] the same before they are pasted into the image, and mask_rois [D, 4], the boxes that they fill:
             ask for these instead of masks where many large masks would not fit in memory

    session = onnxruntime.InferenceSession("best.onnx")
    boxes, labels, scores, masks = session.run(["boxes", "labels", "scores", "masks"], {"image": image})

--to torchvision: a state dict (.pth), a description (.json) and a module (.py) whose load() builds torchvision's MaskRCNN
  from them; it needs neither this project nor a download. A model of train.py --preset torchvision or torchvision_v2 can be
  written; others have parts that torchvision's has not, which are named.
--to safetensors: weights and config in a file that cannot contain code. It can be given instead of a checkpoint everywhere
  here (predict.py --checkpoint best.safetensors), with the scale and the colours of the training images.

ONNX and safetensors need packages: pip install '.[export]'

examples:
  maskrcnn export runs/LISC --to onnx                      writes runs/LISC/best.onnx
  maskrcnn export runs/LISC/last.pt --to safetensors --out model.safetensors
  maskrcnn export coco --to onnx --out coco.onnx           torchvision's published model, which is fetched once"""
SUFFIXES = {"torchvision": ".pth", "onnx": ".onnx", "safetensors": ".safetensors"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add = parser.add_argument
    add("checkpoint", type=source_of, metavar="RUN|FILE|coco", help="a run folder, a checkpoint, or published weights")
    add("--to", choices=tuple(SUFFIXES), required=True, help="what to write")
    add("--out", type=Path, metavar="FILE", help="where (default: beside the checkpoint, with the name of its file)")
    add("--overwrite", action="store_true", help="replace files that are there")


def run(args: argparse.Namespace, prog: str) -> int:
    """Write and say what was written. prog: the name of the command, for messages. Returns the exit code."""
    try:
        out = _out(args.checkpoint, args.to, args.out)
        planned = [out, out.with_suffix(".json"), out.with_suffix(".py")] if args.to == "torchvision" else [out]
        if not args.overwrite and (there := [path for path in planned if path.exists()]):
            raise ValueError(f"{readable(there[0])}: exists already; give another --out, or --overwrite")
        model, extra = load_checkpoint(args.checkpoint)
        out.parent.mkdir(parents=True, exist_ok=True)
        print(WRITERS[args.to](model.eval(), extra, out))
    except (ValueError, OSError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 2
    return 0


def _out(checkpoint: str | Path, kind: str, given: Path | None) -> Path:
    """The file to write, with the suffix of its kind. Raises ValueError."""
    suffix = SUFFIXES[kind]
    if given is None:
        source = Path(f"{checkpoint}.pt") if isinstance(checkpoint, str) else file_of(checkpoint)
        return source.with_name(f"{source.stem}_torchvision.pth" if kind == "torchvision" else source.stem + suffix)
    if given.is_dir() or given.suffix != suffix:
        raise ValueError(
            f"--out {readable(given)}: name a file that ends in {suffix}, such as {given / f'best{suffix}'}"
        )
    return given


def _to_torchvision(model: MaskRCNN, extra: Mapping[str, Any], out: Path) -> str:
    *data, module = map(readable, export_torchvision(model, out))
    return f"weights and description are in {' and '.join(data)}; {module} builds the model: load() in it returns it"


def _to_onnx(model: MaskRCNN, extra: Mapping[str, Any], out: Path) -> str:
    export_onnx(model, out)
    return f"{readable(out)}: image [3, height, width] in 0..1 -> {', '.join(Outputs._fields)}"


def _to_safetensors(model: MaskRCNN, extra: Mapping[str, Any], out: Path) -> str:
    export_safetensors(model, extra, out)
    return f"weights and config are in {readable(out)}; predict.py --checkpoint reads it"


WRITERS: dict[str, Callable[[MaskRCNN, Mapping[str, Any], Path], str]] = {
    "torchvision": _to_torchvision,
    "onnx": _to_onnx,
    "safetensors": _to_safetensors,
}
