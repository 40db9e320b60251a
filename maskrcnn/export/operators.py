"""The four steps of the model whose shapes depend on the data, as operators that torch.export leaves whole.

In PyTorch each runs this project's own code. In an ONNX file each becomes ONNX's operators (Resize, TopK, NonMaxSuppression,
RoiAlign), by the function beside it whose name begins with `onnx_`; `translations` lists them.

Glossary: A anchors of a level; N boxes; R RoIs; C channels; K classes without background.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from maskrcnn.images import ImageTransform
from maskrcnn.roi.align import pyramid_roi_align
from maskrcnn.rpn.nms import nms

FLOAT, INT64, DOUBLE = 1, 7, 11  # as ONNX numbers types
ALL = 2**31 - 1  # a limit that no number of boxes reaches


@torch.library.custom_op("maskrcnn::preprocess", mutates_args=())
def preprocess(
    image: Tensor,
    min_size: int,
    max_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    size_divisible: int,
    antialias: bool,
) -> tuple[Tensor, Tensor]:
    """`ImageTransform.preprocess` of an image [3, H, W]: pixels [1, 3, H', W'], padded, and the size before padding [2]."""
    batch = ImageTransform(min_size, max_size, mean, std, size_divisible, antialias=antialias).preprocess([image])
    return batch.pixels.contiguous(), torch.tensor(batch.sizes[0])


@preprocess.register_fake
def _(
    image: Tensor,
    min_size: int,
    max_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    size_divisible: int,
    antialias: bool,
) -> tuple[Tensor, Tensor]:
    height, width = (size_divisible * torch.library.get_ctx().new_dynamic_size(min=1) for _ in range(2))
    return image.new_empty(1, 3, height, width), image.new_empty(2, dtype=torch.int64)


def onnx_preprocess(
    image: Any,
    min_size: int,
    max_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    size_divisible: int,
    antialias: bool,
) -> tuple[Any, Any]:
    """The size in float64, as Python computes it: in float32, 480 * (800 / 480) may be below 800."""
    op = _opset()

    given = op.Cast(op.Shape(image, start=1), to=DOUBLE)  # [2]
    scale = op.Min(
        op.Div(op.Constant(value=_tensor(DOUBLE, [min_size])), op.ReduceMin(given, keepdims=0)),
        op.Div(op.Constant(value=_tensor(DOUBLE, [max_size])), op.ReduceMax(given, keepdims=0)),
    )
    size = op.Cast(op.Max(op.Floor(op.Mul(given, scale)), op.Constant(value=_tensor(DOUBLE, [1]))), to=INT64)
    colour = op.Constant(value=_tensor(FLOAT, mean, (3, 1, 1))), op.Constant(value=_tensor(FLOAT, std, (3, 1, 1)))
    normalised = op.Unsqueeze(op.Div(op.Sub(image, colour[0]), colour[1]), op.Constant(value_ints=[0]))
    resized = op.Resize(
        normalised, None, None, size, axes=[2, 3], mode="linear", coordinate_transformation_mode="half_pixel",
        antialias=int(antialias), exclude_outside=int(antialias),
    )  # fmt: skip
    divisor = op.Constant(value_ints=[size_divisible])
    rest = op.Mod(op.Sub(divisor, op.Mod(size, divisor)), divisor)  # [2], to the next multiple
    pads = op.Concat(op.Constant(value_ints=[0, 0]), rest, axis=0)
    return op.Pad(resized, pads, None, op.Constant(value_ints=[2, 3])), size


def _opset() -> Any:
    """ONNX's operators, as functions."""
    from onnxscript import opset18

    return opset18


def _tensor(kind: int, values: Sequence[float], shape: Sequence[int] = ()) -> Any:
    import onnx

    return onnx.helper.make_tensor("value", kind, shape, values)


@torch.library.custom_op("maskrcnn::best", mutates_args=())
def best(scores: Tensor, limit: int) -> Tensor:
    """The indices of the `limit` highest scores [A], best first; all of them where there are no more."""
    return scores.topk(min(limit, len(scores))).indices


@best.register_fake
def _(scores: Tensor, limit: int) -> Tensor:
    return scores.new_empty(torch.library.get_ctx().new_dynamic_size(min=0), dtype=torch.int64)


def onnx_best(scores: Any, limit: int) -> Any:
    op = _opset()

    return op.TopK(scores, op.Min(op.Shape(scores), op.Constant(value_ints=[limit])))[1]


@torch.library.custom_op("maskrcnn::nms_per_group", mutates_args=())
def nms_per_group(boxes: Tensor, scores: Tensor, iou_threshold: float, score_threshold: float) -> Tensor:
    """NMS within each of G groups. boxes [G, N, 4], scores [G, N]; those at or below the threshold are left out.
    Returns (group, box) [N', 2], group by group, each best first."""
    kept = []
    for group in range(len(boxes)):
        candidates = torch.where(scores[group] > score_threshold)[0]
        chosen = candidates[nms(boxes[group, candidates], scores[group, candidates], iou_threshold)]
        kept.append(torch.stack([torch.full_like(chosen, group), chosen], dim=1))
    return torch.cat(kept)


@nms_per_group.register_fake
def _(boxes: Tensor, scores: Tensor, iou_threshold: float, score_threshold: float) -> Tensor:
    return boxes.new_empty(torch.library.get_ctx().new_dynamic_size(min=0), 2, dtype=torch.int64)


def onnx_nms_per_group(boxes: Any, scores: Any, iou_threshold: float, score_threshold: float) -> Any:
    op = _opset()

    selected = op.NonMaxSuppression(
        boxes,
        op.Unsqueeze(scores, op.Constant(value_ints=[1])),  # ONNX has classes within a group; here is one
        op.Constant(value_ints=[ALL]),
        op.Constant(value_floats=[iou_threshold]),
        op.Constant(value_floats=[score_threshold]),
    )  # [N', 3]: group, class, box
    return op.Gather(selected, op.Constant(value_ints=[0, 2]), axis=1)


@torch.library.custom_op("maskrcnn::pool", mutates_args=())
def pool(
    maps: Sequence[Tensor],
    boxes: Tensor,
    levels: Tensor,
    scales: Sequence[float],
    size: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """`pyramid_roi_align` of boxes [R, 4] of one image."""
    rois = torch.cat([boxes.new_zeros(len(boxes), 1), boxes], dim=1)
    return pyramid_roi_align(maps, rois, levels, scales, size, sampling_ratio, aligned).contiguous()


@pool.register_fake
def _(
    maps: Sequence[Tensor],
    boxes: Tensor,
    levels: Tensor,
    scales: Sequence[float],
    size: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    return maps[0].new_empty(boxes.shape[0], maps[0].shape[1], size, size)


def onnx_pool(
    maps: Sequence[Any],
    boxes: Any,
    levels: Any,
    scales: Sequence[float],
    size: int,
    sampling_ratio: int,
    aligned: bool,
) -> Any:
    """The RoIs of each level, one level after the other, and then all of them back in their order."""
    op = _opset()

    parts, order = [], []
    for number, (level, scale) in enumerate(zip(maps, scales, strict=True)):
        chosen = op.Squeeze(op.NonZero(op.Equal(levels, op.Constant(value_int=number))), op.Constant(value_ints=[0]))
        image = op.Mul(chosen, op.Constant(value_int=0))  # all RoIs are of the first
        pooled = op.RoiAlign(
            level, op.Gather(boxes, chosen), image, output_height=size, output_width=size, spatial_scale=scale,
            sampling_ratio=sampling_ratio, coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
        )  # fmt: skip
        parts.append(pooled)
        order.append(chosen)
    chosen = op.Concat(*order, axis=0)
    back = op.TopK(chosen, op.Shape(chosen), largest=0)[1]  # where each RoI is now
    return op.Gather(op.Concat(*parts, axis=0), back, axis=0)


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Operator -> its translation, as torch.onnx.export takes it."""
    return {
        torch.ops.maskrcnn.preprocess.default: onnx_preprocess,
        torch.ops.maskrcnn.best.default: onnx_best,
        torch.ops.maskrcnn.nms_per_group.default: onnx_nms_per_group,
        torch.ops.maskrcnn.pool.default: onnx_pool,
    }
