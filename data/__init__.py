"""Images of stained blood smears: finding them (lisc), reading them (dataset), drawing artificial ones (synthetic)."""

from data.lisc import CLASSES, DataError, find

__all__ = ["CLASSES", "DataError", "find"]
