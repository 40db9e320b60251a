"""What goes into the network, and what the backbone makes of it."""

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from maskrcnn.backbone import Features
from maskrcnn.images import Batch, ImageTransform
from maskrcnn.visualization.drawing import draw_image


def level_name(level: int) -> str:
    """The paper's name of a level, 0 being the finest: stride 4 is P2 (Lin et al. 2017, sec. 3)."""
    return f"P{level + 2}"


def draw_batch(ax: Axes, batch: Batch, transform: ImageTransform, image: int = 0) -> Axes:
    """An image of the batch as the network gets it, in its original colours; the dashed frame ends where padding begins."""
    draw_image(ax, transform.denormalize(batch, image))
    height, width = batch.sizes[image]
    ax.add_patch(Rectangle((0, 0), width, height, fill=False, edgecolor="black", linestyle="--", linewidth=0.8))
    return ax


def draw_features(
    ax: Axes, features: Features, level: int = 0, image: int = 0, channel: int | None = None, alpha: float = 1.0
) -> Axes:
    """One channel of a feature map, by default the root mean square over all channels."""
    maps = features.maps[level][image].detach().float().cpu()  # [C, H_l, W_l]
    values = maps.square().mean(dim=0).sqrt() if channel is None else maps[channel]
    height, width, stride = *values.shape, features.strides[level]
    ax.imshow(values.numpy(), extent=(0, width * stride, height * stride, 0), alpha=alpha)
    ax.set_title(f"{features.names[level]}: {height} x {width}")
    ax.set_axis_off()
    return ax
