"""A checkpoint from anywhere is data: reading it runs no code."""

from pathlib import Path

import pytest
import torch

from maskrcnn import Config, MaskRCNN
from maskrcnn.weights import load, load_checkpoint, trained_on


class Touch:
    """Unpickled as usual, this creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("read", [load_checkpoint, trained_on, lambda path: load(MaskRCNN(Config.small()), path)])
def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path, read):
    torch.save({"config": {}, "model": {}, "trained_on": Touch(tmp_path / "touched")}, tmp_path / "best.pt")
    with pytest.raises(ValueError, match=r"best\.pt: not a readable PyTorch checkpoint"):
        read(tmp_path / "best.pt")
    assert not (tmp_path / "touched").exists()
    torch.load(tmp_path / "best.pt", weights_only=False)
    assert (tmp_path / "touched").exists()  # it would have run
