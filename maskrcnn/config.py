"""Every hyper-parameter of the model, with where it comes from.

Sections without a name are those of He et al. 2017 (arXiv 1703.06870). RPN is Ren et al. 2015 (arXiv 1506.01497), FPN is
Lin et al. 2017 (arXiv 1612.03144). Pixels are those of the resized image. A parameter that torchvision's detection models or
detectron2 have bears the same name here.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from maskrcnn.presets import (
    LISC_PRESET,
    PAPER_PRESETS,
    SMALL_PRESET,
    TORCHVISION_PRESET,
    TORCHVISION_V2_PRESET,
)

LISC_CLASSES = ("basophil", "eosinophil", "lymphocyte", "monocyte", "neutrophil")


@dataclasses.dataclass(frozen=True)
class Config:
    """The defaults are the paper's, for training from published ImageNet weights. Presets: `Config.paper`, `Config.lisc`,
    `Config.small`, `Config.torchvision`.

    Change a field with `dataclasses.replace(config, min_size=400)`.
    """

    class_names: tuple[str, ...] = LISC_CLASSES  # label k is class_names[k - 1]; label 0 is background and has no name

    # Images
    min_size: int = 800  # length of the shorter side after resizing (3.1)
    max_size: int = 1333  # upper limit for the longer side (the authors' code)
    image_mean: tuple[float, float, float] = (0.485, 0.456, 0.406)  # of ImageNet, in 0..1
    image_std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    size_divisible: int = 64  # pad height and width to a multiple of this; 64 is the stride of P6, the coarsest level
    mask_interpolation: str = "bilinear"  # or "nearest": how ground-truth masks are resized
    antialias: bool = False  # average over all covered pixels when an image is reduced; torchvision's models do not

    # Backbone
    architecture: str = "fpn"  # or "c4": one map of stride 16, and res5 runs on every RoI (fig. 4); see `Config.paper`
    backbone: str = "resnet50"  # or "resnet101" (3, Network Architecture); "resnet18", "resnet34" for little data
    norm: str = "frozen_batchnorm"  # or "batchnorm", "groupnorm"
    norm_eps: float = 1e-5
    norm_groups: int = 32  # of GroupNorm (Wu and He 2018, 3)
    stride_in_1x1: bool = False  # True: the original bottleneck; torchvision's weights have the stride in the 3x3
    pool_padding_at_end: bool = False  # True: pad the stem's pooling at the bottom and right alone, as TensorFlow does
    frozen_stages: int = 2  # how many of stem, res2 .. res5 are not trained; 0 for training from random weights
    zero_init_residual: bool = False  # start the last norm of each block at zero (Goyal et al. 2017, 5.1)
    fpn_channels: int = 256  # (FPN 3)
    fpn_norm: bool = False  # normalise after each convolution of the FPN

    # Anchors
    anchor_sizes: tuple[tuple[float, ...], ...] = ((32,), (64,), (128,), (256,), (512,))  # P2 .. P6 (FPN 4.1)
    anchor_aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)  # height / width (RPN 3.1.1)
    anchor_offset: float = 0.5  # where in its location an anchor is centred: 0.5 the middle, 0 the upper left corner
    round_anchors: bool = False  # round anchors to whole pixels, as torchvision does

    # Region Proposal Network
    rpn_fg_iou_thresh: float = 0.7  # an anchor is positive from this IoU on (RPN 3.1.2)
    rpn_bg_iou_thresh: float = 0.3  # and negative below this one
    rpn_batch_size_per_image: int = 256  # sampled anchors per image (RPN 3.1.3)
    rpn_num_convs: int = 1  # 3x3 convolutions (RPN fig. 3)
    rpn_conv_channels: int = 0  # of these; 0: as many as the maps have
    rpn_positive_fraction: float = 0.5  # at most, as in every sample here
    rpn_pre_nms_top_n_train: int = 2000  # boxes per level before NMS (the authors' code)
    rpn_pre_nms_top_n_test: int = 1000
    rpn_post_nms_top_n_train: int = 2000  # boxes per image after NMS (FPN 5.2)
    rpn_post_nms_top_n_test: int = 1000  # (3.1, Inference)
    rpn_nms_thresh: float = 0.7  # (RPN 3.3)
    rpn_min_box_size: float = 1e-3  # pixels; removes boxes that clipping has emptied

    # Regions of interest
    # RoIAlign; "align_max" or "pool": as in table 2c; "crop_and_resize": TensorFlow's, for weights trained with it
    roi_pooling: str = "align"
    roi_align_half_pixel: bool = True  # RoIAlign's `aligned`; False only for checkpoints that were trained without it
    pooler_sampling_ratio: int = 2  # samples per bin along each axis; 0: one per pixel of the bin (3, RoIAlign)
    canonical_box_size: float = 224  # side of the box that is pooled from P4 (FPN eq. 1)
    box_fg_iou_thresh: float = 0.5  # a proposal is positive from this IoU on (3.1, Training)
    box_batch_size_per_image: int = 512  # sampled RoIs per image (3.1: 512 for FPN, 64 for C4)
    box_positive_fraction: float = 0.25  # positives to negatives as 1:3 (3.1)

    mask_batch_size_per_image: int = 512  # at most so many of the positives train the mask head (3.1: all of them)

    # Heads
    box_pooler_resolution: int = 7  # (fig. 4)
    box_head_dim: int = 1024  # units of each hidden layer (fig. 4)
    box_head_num_convs: int = (
        0  # above 0: so many 3x3 convolutions with norms, and one hidden layer (Wu and He 2018, 4.2)
    )
    box_easy_loss_thresh: float = 0.0  # above 0: RoIs with a smaller class loss do not count in it, see box_loss
    bbox_reg_weights: tuple[float, float, float, float] = (10, 10, 5, 5)  # scale the deltas (the authors' code)
    mask_pooler_resolution: int = 14  # (fig. 4)
    masks_from_p1: bool = False  # True: pool all masks from P1, a map of half P2's stride that only masks use
    mask_head: str = "fcn"  # or "softmax", whose classes compete (4.2, table 2b), or "mlp" (table 2e)
    mask_head_channels: int = 256
    mask_head_num_convs: int = 4
    mask_head_norm: bool = False  # normalise after each 3x3 convolution (Wu and He 2018, 4.2)
    mask_roi_padding: float = 0.0  # fraction of width and height added on each side of a box before mask RoIAlign
    class_agnostic_boxes: bool = False  # True: all classes share one box regression (R-FCN 2)
    class_agnostic_masks: bool = False  # True: all classes share one mask (4.2, Class-Specific vs. Class-Agnostic)
    smooth_l1_beta: float = 1 / 9  # where the box losses turn from quadratic to linear (the authors' code)

    # Detections
    box_score_thresh: float = 0.05  # (the authors' code)
    box_nms_thresh: float = 0.5  # (the authors' code)
    box_detections_per_img: int = 100  # (3.1, Inference)
    detection_min_box_size: float = 1e-2  # pixels
    class_agnostic_nms: bool = False  # True: each object is reported once, with its best class
    boxes_around_masks: bool = False  # True: report the tightest box around each mask, not the box it was predicted in

    @property
    def num_classes(self) -> int:
        """K, without background."""
        return len(self.class_names)

    @property
    def mask_size(self) -> int:
        """M, the side of a predicted mask: the deconvolution doubles the RoI's side, which in a C4 model res5 has halved."""
        return self.mask_pooler_resolution * (1 if self.architecture == "c4" else 2)

    def __post_init__(self) -> None:
        """Raises ValueError for values that no model can be built from or trained with."""
        if isinstance(self.class_names, str) or not self.class_names:
            raise ValueError(f"class_names must be a tuple of one name or more, got {self.class_names!r}")
        if not all(isinstance(sizes, tuple) and sizes for sizes in self.anchor_sizes) or not self.anchor_sizes:
            raise ValueError(f"anchor_sizes must be a tuple of tuples, one per level, got {self.anchor_sizes!r}")
        for name in COUNTS:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        for name, length in {"image_mean": 3, "image_std": 3, "bbox_reg_weights": 4}.items():
            if len(getattr(self, name)) != length:
                raise ValueError(f"{name} must have {length} values, got {getattr(self, name)!r}")
        if self.mask_interpolation not in ("bilinear", "nearest"):
            raise ValueError(f"mask_interpolation must be bilinear or nearest, got {self.mask_interpolation!r}")
        if self.mask_head not in ("fcn", "softmax", "mlp"):
            raise ValueError(f"mask_head must be fcn, softmax or mlp, got {self.mask_head!r}")
        if self.class_agnostic_masks and self.mask_head != "fcn":
            raise ValueError(f"class_agnostic_masks needs mask_head fcn, got {self.mask_head!r}")
        if self.architecture not in ("fpn", "c4"):
            raise ValueError(f"architecture must be fpn or c4, got {self.architecture!r}")
        if self.architecture == "c4":
            _check_c4(self)
        if self.zero_init_residual and self.norm == "frozen_batchnorm":
            raise ValueError("zero_init_residual needs a norm that is trained: a frozen one would stay at zero")
        if self.norm == "groupnorm" and self.fpn_norm and self.fpn_channels % self.norm_groups:
            raise ValueError(
                f"fpn_channels must be a multiple of norm_groups ({self.norm_groups}), got {self.fpn_channels}"
            )

    @classmethod
    def paper(cls, name: str, class_names: Sequence[str] = LISC_CLASSES, **changes: Any) -> "Config":
        """The models of the paper's experiments. name: R50-C4, R101-C4, R50-FPN or R101-FPN, else ValueError.

        Sec. 3.1 is followed where it gives a number. The authors' code (Detectron) trains its C4 models with 512 RoIs per
        image, not 64, and tests them on 1000 proposals, not 300; it also pools from C4 with as many samples per bin as the
        bin is pixels long (pooler_sampling_ratio=0).
        """
        if name not in PAPER_PRESETS:
            raise ValueError(f"the paper has no model {name!r}; choose {', '.join(PAPER_PRESETS)}")
        return cls(class_names=tuple(class_names), **{**PAPER_PRESETS[name], **changes})

    @classmethod
    def lisc(cls, class_names: Sequence[str] = LISC_CLASSES, **changes: Any) -> "Config":
        """For stained blood smears, from random weights, on a CPU: the paper's ResNet-50-FPN with boxes and masks per class,
        on small images, with GroupNorm and no frozen layers.

        train.py resizes the images so that the median white cell is 60 px across. Anchors of 32 and 64 px on P3 and P4 fit
        it; boxes up to 112 px are pooled from P2, and masks from P1, a map that is twice as fine. Five similar classes and a
        few cells per image need neither the proposals nor the width of the FPN that COCO's eighty classes need.
        """
        return cls(class_names=tuple(class_names), **{**LISC_PRESET, **changes})

    @classmethod
    def small(cls, class_names: Sequence[str] = LISC_CLASSES, **changes: Any) -> "Config":
        """`lisc` with a ResNet-18 whose blocks do not start at zero, half of the RoIs and of the box head, no P1, boxes and
        masks shared by all classes, and easy RoIs in the class loss: a step takes less than two thirds of the time, and the
        checkpoint half of the disk.
        """
        return cls(class_names=tuple(class_names), **{**SMALL_PRESET, **changes})

    @classmethod
    def torchvision(cls, num_classes: int = 91, **changes: Any) -> "Config":
        """The model of torchvision.models.detection.maskrcnn_resnet50_fpn.

        num_classes counts background, as torchvision's does. torchvision has no class names; here they are "1", "2", ...
        """
        return cls(class_names=tuple(str(k) for k in range(1, num_classes)), **{**TORCHVISION_PRESET, **changes})

    @classmethod
    def torchvision_v2(cls, num_classes: int = 91, **changes: Any) -> "Config":
        """The model of torchvision.models.detection.maskrcnn_resnet50_fpn_v2 (after Li et al. 2021, arXiv 2111.11429):
        BatchNorm everywhere, two convolutions in the RPN, four and one hidden layer in the box head. num_classes: as in
        `torchvision`.
        """
        return cls.torchvision(num_classes, **{**TORCHVISION_V2_PRESET, **changes})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and checkpoints."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Config":
        """The inverse of `to_dict`. Raises ValueError for a field that no Config has."""
        unknown = values.keys() - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise ValueError(f"not a Config of this version: unknown {', '.join(sorted(unknown))}")
        return cls(**{name: _tuples(value) for name, value in values.items()})


# Fields that must be 1 or more.
COUNTS = (
    "min_size",
    "max_size",
    "size_divisible",
    "fpn_channels",
    "rpn_batch_size_per_image",
    "rpn_pre_nms_top_n_train",
    "rpn_pre_nms_top_n_test",
    "rpn_post_nms_top_n_train",
    "rpn_post_nms_top_n_test",
    "rpn_num_convs",
    "box_batch_size_per_image",
    "mask_batch_size_per_image",
    "box_detections_per_img",
)

# Of an FPN model: they must keep their defaults in a C4 model, which has no use for them.
FPN_ONLY = (
    "fpn_channels",
    "fpn_norm",
    "canonical_box_size",
    "box_head_dim",
    "box_head_num_convs",
    "masks_from_p1",
    "mask_head_num_convs",
    "mask_head_norm",
    "mask_roi_padding",
    "mask_head",
)


def _check_c4(c: Config) -> None:
    """Raises ValueError for what a C4 model cannot have, or would ignore."""
    defaults = {field.name: field.default for field in dataclasses.fields(Config)}
    for name in FPN_ONLY:
        if getattr(c, name) != defaults[name]:
            raise ValueError(f"{name} is of FPN models: with architecture c4 leave it at {defaults[name]}")
    if len(c.anchor_sizes) != 1:
        raise ValueError(
            f"anchor_sizes must have one tuple with architecture c4, which has one map; got {len(c.anchor_sizes)}: "
            "start from Config.paper('R50-C4')"
        )
    sides = c.box_pooler_resolution, c.mask_pooler_resolution
    if sides[0] != sides[1] or sides[0] % 2:
        raise ValueError(
            "box_pooler_resolution and mask_pooler_resolution must be one even number with architecture c4, whose res5 "
            f"halves it for both heads; got {sides[0]} and {sides[1]}"
        )


def _tuples(value: Any) -> Any:
    """JSON has no tuples."""
    return tuple(_tuples(v) for v in value) if isinstance(value, list | tuple) else value
