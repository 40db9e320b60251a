"""The image of a record, and what its masks or shapes show, in pixels of the image."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.formats.lisc import MASK_MARGIN
from data.mask_kinds import CLASSES, kind_of_mask
from data.mask_values import MaskValues, read_mask_values
from data.masks import Cell, MaskError, cells_of_mask
from data.records import ImageRecord, MaskFile, RecordError, Skipped
from data.regions import region_of, union
from data.shapes import rasterize
from maskrcnn.inference.image_io import ImageError, load_image, orientation

TURNED = (
    "image and mask are each turned as their own EXIF or TIFF tags say, and only one of them has such a tag; look in the "
    "contact sheet of python -m data check whether the outlines lie on the cells"
)


class Annotated(NamedTuple):
    """An image and its cells."""

    image: NDArray[np.uint8]  # [H, W, 3]
    cells: list[Cell]
    kinds: list[str]  # of its masks
    remarks: list[str]  # what was mended


def read_annotated(
    record: ImageRecord, class_names: Sequence[str], mask_kind: str, forced: bool = False, keep_empty: bool = True
) -> Annotated:
    """mask_kind: that of the data set; forced: whether a mask that cannot have it is refused instead of read as what it can
    be. keep_empty: whether an image may be without a cell. Raises RecordError with every file of the record that cannot be
    used."""
    if not record.is_annotated:
        reason = "has no mask; only annotated images can be trained or evaluated on"
        raise RecordError(Skipped(record.image, reason))
    image, masks = _read_files(record)
    size = image.shape[0], image.shape[1]
    kinds, remarks = list[str](), list[str]()
    cells = _cells_of_shapes(record, size, remarks)
    for file, values in zip(record.masks, masks, strict=True):
        aligned = MaskValues(align_mask(values.values, record, file, size), values.source)
        has_class = file.label is not None
        told = forced and not (has_class and mask_kind == CLASSES)  # the class is known: it need not be in the mask
        kinds.append(mask_kind if told else kind_of_mask(aligned, mask_kind, has_class))
        try:
            found = cells_of_mask(aligned, kinds[-1], has_class, class_names)
        except MaskError as error:
            raise RecordError(Skipped(file.path, str(error))) from error
        named = [cell._replace(label=file.label or cell.label) for cell in found.cells]
        cells += [joined(named, size)] if file.one_cell and named else named
        remarks += [*found.remarks, TURNED] if _turned_alone(record, file) else found.remarks
    if not (cells or keep_empty):
        raise RecordError(Skipped(record.annotation, "no cell in this mask"))
    return Annotated(image, cells, kinds, remarks)


def _read_files(record: ImageRecord) -> tuple[NDArray[np.uint8], list[MaskValues]]:
    """Raises RecordError with every file that cannot be read."""
    bad: list[Skipped] = []
    image: NDArray[np.uint8] | None = None
    try:
        image = load_image(record.image)
    except ImageError as error:
        bad.append(Skipped(error.path, error.reason))
    masks = []
    for file in record.masks:
        try:
            masks.append(read_mask_values(file.path))
        except RecordError as error:
            bad += error.skipped
    if image is None or bad:
        raise RecordError(*bad)
    return image, masks


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
    if (height + 2 * MASK_MARGIN, width + 2 * MASK_MARGIN) == size:
        return np.pad(values, MASK_MARGIN)  # on every side: pasted at (0, 0), a perfect mask would have an IoU of 0.83
    if (height, width) == size:
        return values
    reason = (
        f"the mask is {width} x {height}, its image {size[1]} x {size[0]}; they must be of one size, or the mask "
        f"{2 * MASK_MARGIN} smaller both ways as in LISC"
    )
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
    return cells
