import pytest
import torch

from maskrcnn.backbone import Features
from maskrcnn.images import ImageTransform
from maskrcnn.visualization.backbone import draw_batch, draw_features, level_name


def test_a_batch_is_shown_in_the_colours_of_its_image_with_a_frame_around_it(ax):
    transform = ImageTransform(64, 96, (0.7, 0.6, 0.5), (0.2, 0.3, 0.4), 32)
    image = torch.rand(3, 64, 80)  # keeps its size, and is padded to 64 x 96
    values = draw_batch(ax, transform.preprocess([image]), transform).images[0].get_array()
    assert values.shape == (64, 96, 3)
    assert abs(torch.as_tensor(values)[:, :80].permute(2, 0, 1) - image).max() < 1e-5
    frame = ax.patches[0]
    assert (frame.get_width(), frame.get_height()) == (80, 64)


def test_features_are_one_channel_or_the_root_mean_square_of_all(ax):
    maps = torch.zeros(2, 2, 1, 3)
    maps[1] = torch.tensor([[[3.0, 0, 1]], [[4.0, 0, 7]]])
    features = Features(("P2",), (maps,), (4,))
    all_channels, second = (draw_features(ax, features, 0, 1, channel).images[-1] for channel in (None, 1))
    assert all_channels.get_array()[0].tolist() == pytest.approx([12.5**0.5, 0, 5])
    assert second.get_array()[0].tolist() == [4, 0, 7]
    assert all_channels.get_extent() == [0, 12, 4, 0]  # pixels of the image
    assert ax.get_title() == "P2: 1 x 3"


def test_levels_have_the_papers_names():
    assert [level_name(level) for level in range(3)] == ["P2", "P3", "P4"]
