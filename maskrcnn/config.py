"""Every hyper-parameter of the model, with where it comes from.

Sections without a name are those of He et al. 2017 (arXiv 1703.06870). RPN is Ren et al. 2015 (arXiv 1506.01497), FPN is
Lin et al. 2017 (arXiv 1612.03144). Pixels are those of the resized image.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

CELLS = ("basophil", "eosinophil", "lymphocyte", "monocyte", "neutrophil")


@dataclasses.dataclass(frozen=True)
class Config:
    """The defaults are the paper's, with published ImageNet weights in mind. Presets: `Config.lisc`, `Config.torchvision`.

    Change a field with `dataclasses.replace(config, min_size=400)`.
    """

    class_names: tuple[str, ...] = CELLS  # label k is class_names[k - 1]; background is label 0 and has no name

    # Images
    min_size: int = 800  # the shorter edge after resizing (3.1)
    max_size: int = 1333  # the longer edge at most (the authors' code)
    image_mean: tuple[float, float, float] = (0.485, 0.456, 0.406)  # of ImageNet, in 0..1
    image_std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    size_divisor: int = 64  # the padded size is a multiple: the coarsest stride, so that all cells have whole pixels
    mask_resize: str = "bilinear"  # or "nearest": how ground-truth masks follow their image

    antialias: bool = False  # True: smaller images are made of means over all pixels, which leaves no jagged edges

    # Backbone
    backbone: str = "resnet50"  # or "resnet101" (3, Network Architecture); "resnet18", "resnet34" for little data
    norm: str = "frozen_batchnorm"  # or "batchnorm", "groupnorm"
    norm_eps: float = 1e-5
    norm_groups: int = 32  # of GroupNorm (Wu and He 2018, 3)
    stride_in_1x1: bool = False  # True is the original bottleneck; torchvision's weights have the stride in the 3x3
    frozen_stages: int = 2  # of stem, res2 .. res5: how many keep their weights; 0 where training starts at random
    fpn_channels: int = 256  # (FPN 3)
    fpn_norm: bool = False  # whether the FPN's convolutions are followed by the norm

    # Anchors
    anchor_sizes: tuple[tuple[float, ...], ...] = ((32,), (64,), (128,), (256,), (512,))  # P2 .. P6 (FPN 4.1)
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)  # height / width (RPN 3.1.1)
    anchor_offset: float = 0.5  # where in its cell an anchor stands: 0.5 the centre, 0 the corner
    anchor_rounded: bool = False  # whether anchors are rounded to whole pixels

    # Region Proposal Network
    rpn_positive_iou: float = 0.7  # (RPN 3.1.2)
    rpn_negative_iou: float = 0.3
    rpn_batch: int = 256  # anchors sampled in an image (RPN 3.1.3)
    rpn_positive_fraction: float = 0.5
    rpn_pre_nms: tuple[int, int] = (2000, 1000)  # boxes a level before NMS, in training and after it
    rpn_post_nms: tuple[int, int] = (2000, 1000)  # boxes an image after NMS (FPN 5.2; 3.1 Inference)
    rpn_nms_threshold: float = 0.7  # (RPN 3.3)
    rpn_min_size: float = 1e-3  # pixels: only boxes emptied by clipping go

    # Regions of interest
    roi_aligned: bool = True  # RoIAlign's half-pixel shift; False only agrees with old checkpoints
    roi_sampling_ratio: int = 2  # samples a bin along each axis; 0 takes as many as the bin has pixels (3, RoIAlign)
    roi_canonical_size: float = 224  # the side of the box read from P4 (FPN eq. 1)
    roi_positive_iou: float = 0.5  # (3.1 Training)
    roi_batch: int = 512  # RoIs sampled in an image (3.1: 512 for FPN, 64 for C4)
    roi_positive_fraction: float = 0.25  # 1:3 (3.1)

    # Heads
    box_roi_size: int = 7  # (fig. 4)
    box_head_width: int = 1024  # (fig. 4)
    box_weights: tuple[float, float, float, float] = (10, 10, 5, 5)  # of the deltas (Girshick 2015's normalisation)
    mask_roi_size: int = 14  # (fig. 4)
    mask_head_width: int = 256
    mask_head_depth: int = 4
    mask_head_norm: bool = False  # whether its 3x3 convolutions are followed by the norm (Wu and He 2018, 4.2)
    mask_margin: float = 0.0  # shares of a box's sides that it grows by on each side before the mask in it is predicted
    class_agnostic_boxes: bool = False  # True: all classes share their deltas (R-FCN 2)
    class_agnostic_masks: bool = False  # True: all classes share their mask (4.2, Class-Specific vs. Class-Agnostic)
    smooth_l1_beta: float = 1 / 9  # where the box losses turn from quadratic to linear

    # Detections (3.1 Inference)
    score_threshold: float = 0.05
    detection_nms_threshold: float = 0.5
    detections_per_image: int = 100
    detection_min_size: float = 1e-2
    class_agnostic_nms: bool = False  # True: an object is reported once, with its best class

    @property
    def num_classes(self) -> int:
        """K, without background."""
        return len(self.class_names)

    @property
    def mask_size(self) -> int:
        """The side of a predicted mask: the deconvolution doubles the RoI's side."""
        return 2 * self.mask_roi_size

    def __post_init__(self) -> None:
        """Raises ValueError for what no model could be built from or trained with."""
        if isinstance(self.class_names, str) or not self.class_names:
            raise ValueError(f"class_names must be a tuple of one name or more, got {self.class_names!r}")
        if not all(isinstance(sizes, tuple) and sizes for sizes in self.anchor_sizes) or not self.anchor_sizes:
            raise ValueError(f"anchor_sizes must be a tuple of tuples, one for each level, got {self.anchor_sizes!r}")
        counts = (
            "min_size",
            "max_size",
            "size_divisor",
            "fpn_channels",
            "rpn_batch",
            "roi_batch",
            "detections_per_image",
        )
        for name in counts:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        lengths = {"image_mean": 3, "image_std": 3, "rpn_pre_nms": 2, "rpn_post_nms": 2, "box_weights": 4}
        for name, length in lengths.items():
            if len(getattr(self, name)) != length:
                raise ValueError(f"{name} must have {length} values, got {getattr(self, name)!r}")
        if self.mask_resize not in ("bilinear", "nearest"):
            raise ValueError(f"mask_resize must be bilinear or nearest, got {self.mask_resize!r}")
        if self.norm == "groupnorm" and self.fpn_norm and self.fpn_channels % self.norm_groups:
            raise ValueError(
                f"fpn_channels must be a multiple of norm_groups ({self.norm_groups}), got {self.fpn_channels}"
            )

    @classmethod
    def lisc(cls, class_names: Sequence[str] = CELLS, **changes: Any) -> "Config":
        """For stained blood smears, from random weights, on a CPU: small images, GroupNorm, nothing frozen.

        train.py gives the images the size at which a typical white cell is 60 px across: anchors of 32 and 64 px on P3 and
        P4 fit it, and every RoI up to 112 px is read from P2, which is as fine as the samples of the mask head. Five classes
        of one kind of thing, and some hundred images of them, need neither a backbone nor heads as large as COCO's eighty;
        and they can share boxes and masks, as rare classes have to.
        """
        preset: dict[str, Any] = {
            "min_size": 256,
            "max_size": 384,
            "size_divisor": 32,
            "antialias": True,
            "backbone": "resnet18",
            "image_mean": (0.75, 0.67, 0.73),
            "image_std": (0.2, 0.2, 0.2),
            "norm": "groupnorm",
            "fpn_norm": True,
            "fpn_channels": 128,
            "frozen_stages": 0,
            "anchor_sizes": ((16,), (32,), (64,), (128,), (256,)),
            "rpn_pre_nms": (500, 250),
            "rpn_post_nms": (250, 100),
            "roi_batch": 64,
            "box_head_width": 512,
            "mask_head_width": 128,
            "mask_head_norm": True,
            "mask_margin": 0.07,
            "class_agnostic_boxes": True,
            "class_agnostic_masks": True,
        }
        return cls(class_names=tuple(class_names), **{**preset, **changes})

    @classmethod
    def torchvision(cls, num_classes: int = 91, **changes: Any) -> "Config":
        """What torchvision.models.detection.maskrcnn_resnet50_fpn computes.

        num_classes counts background, as theirs does. Their classes have no names there: ours are called "1", "2", ...
        """
        preset: dict[str, Any] = {
            "class_names": tuple(str(k) for k in range(1, num_classes)),
            "size_divisor": 32,
            "mask_resize": "nearest",
            "norm_eps": 0.0,
            "anchor_offset": 0.0,
            "anchor_rounded": True,
            "roi_aligned": False,
        }
        return cls(**{**preset, **changes})

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


def _tuples(value: Any) -> Any:
    """JSON has no tuples."""
    return tuple(_tuples(v) for v in value) if isinstance(value, list | tuple) else value
