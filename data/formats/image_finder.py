"""Finds the image that an annotation file names."""

import os
import re
from pathlib import Path

from data.formats.files import files_in, images_below, is_image, is_plain_side, key, normal, side_of, sides_below

STEM = "\0"  # marks a name without ending, since no name has it


class ImageFinder:
    """Finds the image that an annotation file names, wherever it lies in the data set, but never an image of the same name
    that belongs elsewhere: to another split, or to another folder than the name says."""

    def __init__(self, root: Path) -> None:
        self.root, self.images = root, images_below(root)
        # By name, by the folder with the name, and by the name without ending: no search through all of them.
        self._found: dict[str, list[Path]] = {}
        self._folders: set[str] = set()
        self._sides: set[str | None] = set()
        self._endings = {path.suffix.lower() for path in self.images}
        self._complete: dict[Path, bool] = {}
        for path in self.images:
            name, folder = normal(path.name), normal(path.parent.name)
            for place in dict.fromkeys((name, f"{folder}/{name}", f"{key(path)}{STEM}", f"{folder}/{key(path)}{STEM}")):
                self._found.setdefault(place, []).append(path)
        for below in {path.parent for path in self.images}:
            self._folders.update(map(normal, below.relative_to(root).parts))
            self._sides.update(map(side_of, sides_below(below / "x", root)[:1]))

    def __call__(self, name: str, near: Path, side: str | None = None) -> Path:
        """The image of that name, perhaps with folders (of the machine it was written on): the one whose folders agree
        best, of several the one in a folder of the split `side`, of these the one nearest to the folder `near`. It may have
        another ending where no image has the one that is named. Raises ValueError if there is none, or two as near."""
        path = name.split("?")[0] if "://" in name else name  # an address on the web may end in a query
        *places, last = normal(path.replace("\\", "/")).split("/")
        # Where images have that ending, an image that lacks is no converted one: the same name may be that of its mask.
        is_converted = is_image(Path(last)) and Path(last).suffix not in self._endings
        stem = key(last) if is_converted and last + STEM not in self._found else last
        if last in self._found or stem + STEM not in self._found:
            return self._nearest(name, [*places, last], "", near, side)
        return self._nearest(name, [*places, stem], STEM, near, side)

    def by_stem(self, stem: str, near: Path) -> Path:
        """The image of a name without ending, or of a name with one, as in image.png.geojson. Raises ValueError."""
        return self._nearest(stem, [normal(stem)], "" if normal(stem) in self._found else STEM, near)

    def knows(self, stem: str) -> bool:
        """Whether some image has a name, with or without ending."""
        return normal(stem) in self._found or normal(stem) + STEM in self._found

    def _nearest(self, name: str, parts: list[str], end: str, near: Path, side: str | None = None) -> Path:
        beside = [path for path in self._found.get(f"{normal(near.name)}/{parts[-1]}{end}", []) if path.parent == near]
        same_name = self._found.get(f"{parts[-1]}{end}", [])
        if not same_name:
            raise ValueError(f"the image {name} is not in the data set")
        is_absolute = parts[0] == "" or re.match("[a-z]:$", parts[0]) is not None
        said = [] if is_absolute else [part for part in parts[:-1] if part in self._folders]  # folders of ours
        expected = next(filter(None, map(side_of, reversed(said))), None) or side or self._side_near(near)
        candidates = beside if len(parts) == 1 else []
        candidates = candidates or [
            path for path in same_name if path in beside or self._may_be(path, parts, said, near, expected)
        ]
        if not candidates:
            place = f"in the split {expected}" if expected else "where it should be"
            raise ValueError(
                f"the image {name} is not {place}, only {same_name[0]} has that name; move it, or correct the name"
            )
        return self._best(name, parts, candidates, near, expected)

    def _may_be(self, path: Path, parts: list[str], said: list[str], near: Path, side: str | None) -> bool:
        """Whether an image that is not beside the annotation file may be the one that is meant: not if it is of another
        split, or outside of the folders that the name says, or if the annotation files in `near` have their images there."""
        within = set(said) <= {normal(part) for part in path.relative_to(self.root).parts[:-1]}
        if not within or self._is_of_other(path, near, side):
            return False
        is_told = bool(said) or normal(path.parent.name) in parts[-2:-1]
        return is_told or near in path.parents or not self._is_complete(near)

    def _is_of_other(self, path: Path, near: Path, side: str | None) -> bool:
        """Whether an image is of another split than `side`. Some have a single folder of images, train, and a val.json."""
        folder = next(iter(sides_below(path, self.root)), None)
        if folder is None or side in (None, side_of(folder)):
            return False
        has_side = side in self._sides
        is_for_all = side_of(folder) == "train" and not has_side and self._side_near(near) is None
        return (is_plain_side(folder) or has_side) and not is_for_all

    def _is_complete(self, folder: Path) -> bool:
        """Whether the images of the annotation files in a folder are in that folder. Files that are named after images tell;
        otherwise any image does."""
        if folder not in self._complete:
            files = files_in(folder)
            images = [file for file in files if is_image(file)]
            stems = {key(image) for image in images}
            named = {key(file) for file in files if not is_image(file) and self.knows(file.stem)}
            self._complete[folder] = bool(named & stems if named else images)
        return self._complete[folder]

    def _side_near(self, folder: Path) -> str | None:
        return next(map(side_of, sides_below(folder / "x", self.root)), None)

    def _best(self, name: str, parts: list[str], candidates: list[Path], near: Path, side: str | None) -> Path:
        def fit(path: Path) -> tuple[int, bool, int, bool]:
            agreeing = 0
            for ours, theirs in zip(reversed(path.parts[:-1]), reversed(parts[:-1]), strict=False):
                if normal(ours) != theirs:
                    break
                agreeing += 1
            of_side = side in map(side_of, path.relative_to(self.root).parts[:-1])
            is_spelled_so = re.split(r"[/\\]", name)[-1] in (path.name, path.stem)
            return -agreeing, not of_side, len(Path(os.path.relpath(path.parent, near)).parts), not is_spelled_so

        fits = [fit(path) for path in candidates] if len(candidates) > 1 else [(0, False, 0, False)]
        chosen = [path for path, quality in zip(candidates, fits, strict=True) if quality == min(fits)]
        if len(chosen) > 1:
            raise ValueError(f"the image {name} could be {chosen[0]} or {chosen[1]}; give them different names")
        return chosen[0]
