"""A picture of every stage's output, in the order of `MaskRCNN.stages`:

>>> from maskrcnn.visualization import stages as v
>>> outputs = dict(model.stages([image]))
>>> v.draw_batch(ax, outputs["images"], model.transform)
>>> v.draw_proposals(ax, outputs["proposals"], count=20)

Each function draws a stage's output on a matplotlib Axes and returns the Axes. Functions that draw boxes add them to what
is on the Axes, so draw the image first. Coordinates are continuous pixels of the resized image. Levels count from 0, the
finest (P2); `image` is an index into the batch.
"""

from maskrcnn.visualization.backbone import draw_batch, draw_features, level_name
from maskrcnn.visualization.heads import (
    draw_class_scores,
    draw_detections,
    draw_losses,
    draw_mask_logits,
    draw_mask_target,
    draw_pasted,
)  # fmt: skip
from maskrcnn.visualization.roi import draw_roi_bins, draw_roi_levels, draw_rois, sampling_points, sampling_weights
from maskrcnn.visualization.rpn import (
    AnchorGrid,
    anchor_grid,
    draw_anchors,
    draw_deltas,
    draw_objectness,
    draw_proposals,
    draw_rpn_targets,
    draw_suppression,
    suppressors,
)  # fmt: skip

__all__ = [
    "AnchorGrid",
    "anchor_grid",
    "draw_anchors",
    "draw_batch",
    "draw_class_scores",
    "draw_deltas",
    "draw_detections",
    "draw_features",
    "draw_losses",
    "draw_mask_logits",
    "draw_mask_target",
    "draw_objectness",
    "draw_pasted",
    "draw_proposals",
    "draw_roi_bins",
    "draw_roi_levels",
    "draw_rois",
    "draw_rpn_targets",
    "draw_suppression",
    "level_name",
    "sampling_points",
    "sampling_weights",
    "suppressors",
]
