"""RoIAlign and NMS alone, against torchvision's C++ operators."""

from collections.abc import Callable, Iterator

import torch
import torchvision
from torch import Tensor

from benchmarks.speed.timing import Comparison, interleaved
from maskrcnn.roi import roi_align
from maskrcnn.rpn import nms

FEATURES = (1, 256, 144, 180)  # P2 of an image of 720 x 576
ROIS = ((512, 7), (128, 14))  # RoIs and bins: of the box head and of the mask head


def random_boxes(
    count: int, width: float, height: float, smallest: float, largest: float, device: torch.device
) -> Tensor:
    """[N, 4], centres anywhere, sides log-uniform."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.rand(count, 2, generator=generator) * torch.tensor([width, height])
    sides = smallest * (largest / smallest) ** torch.rand(count, 2, generator=generator)
    return torch.cat([centres - sides / 2, centres + sides / 2], dim=1).to(device)


def clustered_boxes(count: int, objects: int, width: float, height: float, device: torch.device) -> Tensor:
    """[N, 4] around some objects, like the proposals of a trained network."""
    generator = torch.Generator().manual_seed(0)
    base = random_boxes(objects, width, height, 50, 110, torch.device("cpu"))
    chosen = base[torch.randint(objects, (count,), generator=generator)]
    side = (chosen[:, 2:] - chosen[:, :2]).repeat(1, 2)
    return (chosen + 0.1 * side * torch.randn(count, 4, generator=generator)).to(device)


def align(backward: bool, layout: torch.memory_format, goal: float, device: torch.device) -> Comparison:
    """The RoIs of both heads from one map. torchvision always gets its fastest layout, contiguous."""
    theirs_features = torch.randn(FEATURES, generator=torch.Generator().manual_seed(0)).to(device)
    ours_features = theirs_features.contiguous(memory_format=layout)
    height, width = 4 * FEATURES[2], 4 * FEATURES[3]
    jobs = [([random_boxes(count, width, height, 16, 256, device)], bins) for count, bins in ROIS]

    def run(operator: Callable[..., Tensor], features: Tensor) -> None:
        features = features.detach().requires_grad_(backward)
        outputs = [operator(features, boxes, bins, 0.25, 2, True) for boxes, bins in jobs]
        if backward:
            torch.autograd.backward(outputs, [torch.ones_like(output) for output in outputs])

    times = interleaved(
        {
            "ours": lambda: run(roi_align, ours_features),
            "theirs": lambda: run(torchvision.ops.roi_align, theirs_features),
        }
    )
    what = "forward + backward" if backward else "forward"
    where = "channels-last" if layout is torch.channels_last else "contiguous"
    return Comparison(f"roi_align {what}, {where}", times["ours"], times["theirs"], goal)


def suppress(boxes: Tensor, name: str, goal: float) -> Comparison:
    """NMS at 0.7. Raises AssertionError if both sides do not keep the same boxes."""
    scores = torch.rand(len(boxes), generator=torch.Generator().manual_seed(1)).to(boxes.device)
    assert torch.equal(nms(boxes, scores, 0.7), torchvision.ops.nms(boxes, scores, 0.7))
    times = interleaved(
        {
            "ours": lambda: nms(boxes, scores, 0.7),
            "theirs": lambda: torchvision.ops.nms(boxes, scores, 0.7),
        },
        seconds=3,
    )
    return Comparison(name, times["ours"], times["theirs"], goal)


def measure(device: torch.device) -> Iterator[Comparison]:
    yield align(True, torch.channels_last, 10, device)
    yield align(True, torch.contiguous_format, 4, device)
    yield align(False, torch.channels_last, 10, device)
    yield align(False, torch.contiguous_format, 2, device)
    for count, goal in ((1000, 1.2), (2000, 1.0), (6000, 1.8), (20000, 3.0)):
        boxes = random_boxes(count, 720, 576, 16, 128, device)
        yield suppress(boxes, f"nms, {count} boxes spread over the image", goal)
    for count in (1000, 2000, 6000, 20000):
        boxes = clustered_boxes(count, 20, 720, 576, device)
        yield suppress(boxes, f"nms, {count} boxes around 20 objects", 0.9)
