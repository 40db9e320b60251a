"""Images of stained blood smears: finding them (lisc), reading them (dataset), dividing them (splits), drawing artificial
ones (synthetic), changing them (augment)."""
