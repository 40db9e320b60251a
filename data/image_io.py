"""The image of a record, and what its masks or shapes show, in pixels of the image."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from data.formats.lisc import MASK_MARGIN
from data.mask_kinds import CLASSES, MaskMeaning, kind_of_mask
from data.mask_values import MaskValues, read_mask_values
from data.masks import Cell, MaskError, cells_of_mask, looks_merged
from data.records import ImageRecord, MaskFile, RecordError, Skipped
from data.shapes import rasterize
from maskrcnn.boxes import iou
from maskrcnn.inference.image_io import ImageError, load_image, orientation
from maskrcnn.regions import Region, intersection, region_of, union

TURNED = (
    "image and mask are each turned as their own EXIF or TIFF tags say, and only one of them has such a tag; look in the "
    "contact sheet of python -m data check whether the outlines lie on the cells"
)

MERGED = (
    "what looks like several cells that touch, or like the lobes of a nucleus, is one cell, since its pixels are connected; "
    "to keep touching cells apart, give each a number of its own"
)
UNION = 0.9  # fraction of a mask that others show as well, and of these that lie within it, for it to be their union
MARGIN = 16  # pixels around what a mask marks: more than the thickness of any line that is looked for
TWINS = 0.8  # IoU of cells that are probably one, annotated twice


class Annotated(NamedTuple):
    """An image and its cells."""

    image: NDArray[np.uint8]  # [H, W, 3]
    cells: list[Cell]
    kinds: list[str]  # of its masks
    remarks: list[str]  # what was mended


class _Found(NamedTuple):
    """What one mask shows."""

    file: MaskFile
    kind: str
    cells: list[Cell]
    remarks: list[str]


def read_annotated(record: ImageRecord, meaning: MaskMeaning, keep_empty: bool = True) -> Annotated:
    """keep_empty: whether an image may be without a cell. Raises RecordError with every file of the record that cannot be
    used."""
    if not record.is_annotated:
        reason = "has no mask; only annotated images can be trained or evaluated on"
        raise RecordError(Skipped(record.image, reason))
    try:
        image = load_image(record.image)
    except ImageError as error:
        raise RecordError(Skipped(error.path, error.reason), *_unreadable(record.masks)) from error
    size, found, remarks = (image.shape[0], image.shape[1]), list[_Found](), list[str]()
    for i, file in enumerate(record.masks):
        try:
            found.append(_read_mask(record, file, size, meaning))
        except RecordError as error:
            raise RecordError(*error.skipped, *_unreadable(record.masks[i + 1 :])) from error
    cells = _cells_of_shapes(record, size, remarks)
    found = _without_unions(found, size, remarks)
    cells += [cell for each in found for cell in each.cells]
    remarks += [remark for each in found for remark in each.remarks]
    if _has_twins(cells):
        remarks.append(
            "two cells that cover nearly the same pixels are both used; delete one if they are the same cell"
        )
    if not (cells or keep_empty):
        raise RecordError(Skipped(record.annotation, "no cell in this mask"))
    return Annotated(image, cells, [each.kind for each in found], remarks)


def _unreadable(files: Sequence[MaskFile]) -> list[Skipped]:
    """Those of some masks that cannot be read, with the reasons."""
    skipped = list[Skipped]()
    for file in files:
        try:
            read_mask_values(file.path)
        except RecordError as error:
            skipped += error.skipped
    return skipped


def _read_mask(record: ImageRecord, file: MaskFile, size: tuple[int, int], meaning: MaskMeaning) -> _Found:
    """What a mask of an image of size (H, W) shows: its cells, and none of its pixels, as an image may have a mask for each
    of hundreds of cells. Raises RecordError."""
    mask = read_mask_values(file.path)
    indices = None if mask.indices is None else align_mask(mask.indices, record, file, size)
    aligned = MaskValues(align_mask(mask.values, record, file, size), mask.source, indices)
    aligned, top, left = around_marks(aligned)
    has_class = file.label is not None
    told = meaning.is_told and not (has_class and meaning.kind == CLASSES)  # the class need not be in the mask
    kind = meaning.kind if told else kind_of_mask(aligned, meaning.kind, has_class)
    try:
        found = cells_of_mask(aligned, kind, has_class, meaning.classes)
    except MaskError as error:
        raise RecordError(Skipped(file.path, str(error))) from error
    named = [cell.moved(top, left)._replace(label=file.label or cell.label) for cell in found.cells]
    cells = [joined(named, size)] if file.one_cell and named else named
    remarks = [*found.remarks, TURNED] if _turned_alone(record, file) else found.remarks
    if any(cell.region.is_component and looks_merged(cell.region) for cell in cells):
        remarks = [*remarks, MERGED]
    return _Found(file, kind, cells, remarks)


def around_marks(mask: MaskValues) -> tuple[MaskValues, int, int]:
    """The part of a mask that is not 0, with a margin, and its first row and column: what a mask means is seen there, and
    most masks mark little."""
    marked = mask.values != 0
    rows, columns = np.flatnonzero(marked.any(axis=1)), np.flatnonzero(marked.any(axis=0))
    if not len(rows):
        return mask, 0, 0
    top, left = max(int(rows[0]) - MARGIN, 0), max(int(columns[0]) - MARGIN, 0)
    part = slice(top, rows[-1] + 1 + MARGIN), slice(left, columns[-1] + 1 + MARGIN)
    return MaskValues(mask.values[part], mask.source, None if mask.indices is None else mask.indices[part]), top, left


def _without_unions(found: Sequence[_Found], size: tuple[int, int], remarks: list[str]) -> list[_Found]:
    """Without the masks of one cell each that only show again what others show: all cells, or the same one."""
    files = sorted((each for each in found if each.file.one_cell and each.cells), key=_area, reverse=True)
    regions = [each.cells[0].region for each in files]
    count = np.zeros(size, np.int32)
    for region in regions:
        count[region.slices] += region.mask
    unions = list[_Found]()
    for i, region in enumerate(regions):
        shown = count[region.slices][region.mask] > 1
        if shown.mean() >= UNION and _is_union(region, regions[i + 1 :], size):
            unions.append(files[i])
    remarks += ["a mask that only shows again what other masks of its image show is left out"] if unions else []
    return [each for each in found if not any(each is union for union in unions)]


def _area(found: _Found) -> int:
    return int(found.cells[0].region.mask.sum())


def _is_union(region: Region, others: Sequence[Region], size: tuple[int, int]) -> bool:
    """Whether those others that lie within a region fill it."""
    whole = union([region], size)
    within = [other for other in others if whole[other.slices][other.mask].mean() >= UNION]
    return bool(union(within, size)[region.slices][region.mask].mean() >= UNION)


def joined(cells: Sequence[Cell], size: tuple[int, int]) -> Cell:
    """One or more parts as one cell."""
    region = region_of(union([cell.region for cell in cells], size))
    assert region is not None
    return cells[0]._replace(region=region, nucleus=None)


def align_mask(
    values: NDArray[np.int64], record: ImageRecord, file: MaskFile, size: tuple[int, int]
) -> NDArray[np.int64]:
    """The mask of an image of size (H, W). LISC's smaller masks are padded by their margin. Raises RecordError for a mask of
    another size."""
    height, width = values.shape
    if file.may_lack_margin and (height + 2 * MASK_MARGIN, width + 2 * MASK_MARGIN) == size:
        return np.pad(values, MASK_MARGIN)  # on every side: pasted at (0, 0), a perfect mask would have an IoU of 0.83
    if (height, width) == size:
        return values
    reason = f"the mask is {width} x {height}, its image {size[1]} x {size[0]}; they must be of one size"
    reason += f", or the mask {2 * MASK_MARGIN} smaller both ways as in LISC" if file.may_lack_margin else ""
    turned = _turned_alone(record, file)
    if (width, height) == size and turned:
        reason = (
            f"image and mask fit only untouched, but {turned} says in its EXIF or TIFF tags that it is to be turned; "
            "remove the orientation tag, or turn the other file as well"
        )
    raise RecordError(Skipped(file.path, reason))


def _turned_alone(record: ImageRecord, file: MaskFile) -> str:
    """The name of the file that its tags say is to be turned, of an image and its mask, if the other one's do not; else
    ""."""
    turned = [path.name for path in (record.image, file.path) if orientation(path) != 1]
    return turned[0] if len(turned) == 1 else ""


def _cells_of_shapes(record: ImageRecord, size: tuple[int, int], remarks: list[str]) -> list[Cell]:
    """Raises RecordError for a shape outside the image, and for one of an image of another size."""
    if record.size not in (None, size):
        height, width = record.size or size
        reason = f"is for {record.image.name} of {width} x {height} pixels, and the file has {size[1]} x {size[0]}"
        remedy = "; the image was resized, or turned by its EXIF tags, after it was annotated"
        raise RecordError(Skipped(record.annotation, reason + remedy))
    cells = []
    for shape in record.shapes or ():
        try:
            region = rasterize(shape, size)
        except ValueError as error:
            raise RecordError(Skipped(record.annotation, f"{record.image.name}, {shape.entry}: {error}")) from error
        if region:
            cells.append(Cell(region, shape.label))
        else:
            remarks.append("a shape that is too thin to cover a pixel is left out")
    if record.shapes and not cells:
        reason = f"{record.image.name}, {record.shapes[0].entry}: too thin to cover a pixel, and there is no other"
        raise RecordError(Skipped(record.annotation, reason))
    return cells


def _has_twins(cells: Sequence[Cell]) -> bool:
    """Whether two cells cover nearly the same pixels."""
    boxes = torch.tensor([cell.region.box for cell in cells], dtype=torch.float32).reshape(-1, 4)
    pairs = torch.nonzero(torch.triu(iou(boxes, boxes), diagonal=1) > TWINS).tolist()
    return any(_mask_iou(cells[i].region, cells[k].region) > TWINS for i, k in pairs)


def _mask_iou(a: Region, b: Region) -> float:
    shared = intersection(a, b)
    return shared / (int(a.mask.sum()) + int(b.mask.sum()) - shared)
