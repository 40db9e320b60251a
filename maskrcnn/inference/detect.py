"""One image through the model, whole or in tiles: objects with compact masks, in pixels of the image."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from maskrcnn.boxes import expand
from maskrcnn.config import Config
from maskrcnn.heads.paste import paste_patches
from maskrcnn.images import Batch, scale_boxes
from maskrcnn.inference.device import autocast
from maskrcnn.inference.objects import Objects
from maskrcnn.inference.scale import TrainingScale
from maskrcnn.inference.tiles import SEAM, Tile, detect_in_tiles
from maskrcnn.inference.tta import detect_tta
from maskrcnn.model import MaskRCNN

LIKELY = 0.5  # a score from which on something is more likely right than not


def predict(
    model: MaskRCNN,
    image: Tensor,
    precision: str = "auto",
    tta: bool = False,
    scale: float | None = None,
    known: TrainingScale | None = None,
    change: Callable[[Tensor], Tensor] = lambda image: image,
    progress: Callable[[Sequence[Tile]], Iterable[Tile]] = iter,
) -> Objects:
    """The objects of an image [3, H, W], float in 0..1 or 8 bits. The model must be in eval mode.

    precision: see `autocast`; tta: average over eight views, see `detect_tta`. scale: pixels of the model per pixel of the
    image; None: that of the training images, which known describes; without known, the shorter side becomes
    Config.min_size. An image that is larger there than those of training is divided into tiles. change: applied to what the
    model is shown; progress: see `detect_in_tiles`.
    """
    if scale is None and known and known.is_one:
        scale = known.scale

    def of_view(view: Tensor) -> Objects:
        return detect(model, view, precision, scale)

    def of_tile(part: Tensor) -> Objects:
        shown = change(part if part.is_floating_point() else part / 255)
        if not tta:
            return of_view(shown)
        return detect_tta(of_view, shown, model.config.num_classes, model.config.boxes_around_masks)

    if scale is None or known is None:
        return of_tile(image)
    tile, overlap = known.tile(scale)
    return detect_in_tiles(of_tile, image, (tile, tile), overlap, progress, seam=max(SEAM, SEAM / scale))


@torch.inference_mode()
def detect(model: MaskRCNN, image: Tensor, precision: str = "auto", scale: float | None = None) -> Objects:
    """What `MaskRCNN` returns for an image [3, H, W], on the CPU: the same numbers, without a mask as large as the image for
    each object. The model must be in eval mode.

    precision: see `autocast`; scale: see `MaskRCNN.stages`.
    """
    device = next(model.parameters()).device
    found: dict[str, Any] = {}
    with autocast(device, precision):
        for name, output in model.stages([image.to(device)], scale=scale):
            found[name] = output
            if name == "mask_head":  # the next stage pastes masks over the whole image
                break
    batch: Batch = found["images"]
    size, resized = batch.original_sizes[0], batch.sizes[0]
    boxes, labels, scores = (values[0].float().cpu() for values in found["detections"])
    rois = scale_boxes(expand(boxes, model.config.mask_roi_padding), resized, size)
    boxes = scale_boxes(boxes, resized, size)
    patches = paste_patches(found["mask_head"].probabilities().float().cpu(), rois, size)
    if model.config.boxes_around_masks:
        around = [patch.region() for patch in patches]
        tight = [region.box if region else box for region, box in zip(around, boxes.tolist(), strict=True)]
        boxes = boxes.new_tensor(tight).reshape(-1, 4)
    return Objects(size, boxes, labels.long(), scores, patches, _is_limited(found, model.config))


def _is_limited(found: dict[str, Any], config: Config) -> bool:
    """Whether the number of proposals, or of detections, that are more likely right than not reached its limit: what the
    limit cuts off may then be objects, too."""
    objectness, scores = found["proposals"].objectness[0], found["detections"].scores[0]
    likely, certain = (int((values >= LIKELY).sum()) for values in (objectness, scores))
    return likely >= config.rpn_post_nms_top_n_test or certain >= config.box_detections_per_img
