"""What `pip install .` gives: the package maskrcnn, its types, and a command that works in any folder."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from maskrcnn import Config, MaskRCNN, __version__
from maskrcnn.weights import save_checkpoint

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The installed files, in a folder of their own."""
    folder = tmp_path_factory.mktemp("wheel")
    # From a copy of what belongs to the package: building leaves a folder in the source.
    source = folder / "source"
    for path in [*ROOT.glob("maskrcnn/**/*.py"), ROOT / "maskrcnn/py.typed", *ROOT.glob("data/**/*.py")]:
        (source / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        (source / path.relative_to(ROOT)).write_bytes(path.read_bytes())
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        folder,
        source,
    ]
    subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_only_one_package_is_installed_with_its_types(wheel):
    assert {path.name for path in wheel.iterdir()} == {"maskrcnn", f"maskrcnn-{__version__}.dist-info"}
    assert (wheel / "maskrcnn/py.typed").exists()
    modules = {path.relative_to(ROOT) for path in ROOT.glob("maskrcnn/**/*.py")}
    assert {path.relative_to(wheel) for path in wheel.glob("maskrcnn/**/*.py")} == modules
    entry_points = (wheel / f"maskrcnn-{__version__}.dist-info/entry_points.txt").read_text()
    assert "maskrcnn = maskrcnn.__main__:main" in entry_points


def test_the_command_predicts_in_a_folder_with_a_data_package_of_its_own(wheel, tmp_path):
    torch.manual_seed(0)
    config = Config.small(min_size=64, max_size=96, fpn_channels=32, box_head_dim=16, mask_head_channels=32)
    save_checkpoint(tmp_path / "best.pt", MaskRCNN(config))
    (tmp_path / "data.py").write_text("raise RuntimeError('not ours')\n")
    picture = "from PIL import Image; Image.new('RGB', (90, 70), 'white').save('a.png')"
    code = f"{picture}; import sys; from maskrcnn.__main__ import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "predict", "a.png", "--checkpoint", "best.pt", "--out", "cells"]
    environment = {"PYTHONPATH": str(wheel), "PATH": "/usr/bin:/bin"}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "cells/a_overlay.png").exists()
    assert (tmp_path / "cells/cells.csv").exists()
