"""Published weights by a short name: torchvision's files, fetched once into the cache of torch.hub."""

import hashlib
from pathlib import Path

import torch

ADDRESS = "https://download.pytorch.org/models/"
IMAGENET = {  # backbone -> torchvision's IMAGENET1K_V1
    "resnet18": "resnet18-f37072fd.pth",
    "resnet34": "resnet34-b627a593.pth",
    "resnet50": "resnet50-0676ba61.pth",
    "resnet101": "resnet101-63fe2227.pth",
}
DETECTORS = {
    "coco": "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth",
    "coco_v2": "maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth",
}
PUBLISHED = ("imagenet", *DETECTORS)  # the short names


def published_file(name: str, backbone: str = "resnet50") -> Path:
    """The file of one of PUBLISHED, from the cache or else from the network, with a progress bar. backbone: of imagenet.
    Raises ValueError, with the way on, if it cannot be had or is damaged."""
    file = IMAGENET[backbone] if name == "imagenet" else DETECTORS[name]
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path, digest = folder / file, Path(file).stem.rpartition("-")[2]
    if path.is_file():
        if not digest_of(path).startswith(digest):
            raise ValueError(f"{path}: not the published file, probably cut off; delete it, and it is fetched again")
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(ADDRESS + file, str(path), hash_prefix=digest)
    except (OSError, RuntimeError) as error:  # no network, no such address, a full disk; another content than published
        raise ValueError(
            f"{name}: cannot fetch {ADDRESS}{file} ({error}). Without a network: fetch it on another machine and put it "
            f"into {folder}, or give its path instead of {name}"
        ) from error
    return path


def digest_of(file: Path) -> str:
    """SHA-256 of a file. Raises OSError."""
    with file.open("rb") as content:
        digest = hashlib.sha256()
        while block := content.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
