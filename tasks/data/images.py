"""A folder of class folders of images, as examples."""

import logging
from pathlib import Path

import numpy as np

from tasks.data.examples import Loaded
from tasks.data.mapped import allocated, room
from tasks.errors import InvalidData

log = logging.getLogger(__name__)

ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"}


def read_images(folder: Path, kept: Path | None = None) -> Loaded:
    """Feature `x` uint8 `[N, H, W, 3]`, label `y` `[N]`: the name of each image's folder. Rows are in order of paths.

    Args:
        kept: folder for a file that large images are kept in rather than in memory.

    Raises:
        InvalidData: no folders, a folder without images, an image that cannot be read or is of another size.
    """
    classes = sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    if not classes:
        raise InvalidData(f"{folder} holds no folders: expected one for each class, with that class's images in it.")
    paths, ignored = [], []
    for child in classes:
        files = sorted(path for path in child.iterdir() if not path.name.startswith("."))
        images = [path for path in files if path.suffix.lower() in ENDINGS and path.is_file()]
        if not images:
            raise InvalidData(
                f"{child} holds no image ({', '.join(sorted(ENDINGS))}): expected those of class {child.name!r}; "
                "remove the folder if it is no class."
            )
        paths += images
        ignored += [path for path in files if path not in set(images)]
    if ignored:
        log.warning("%s: files that are no images are not used: %d, the first is %s", folder, len(ignored), ignored[0])
    first = _pixels(paths[0])
    x = allocated(room(kept, len(paths) * first.nbytes), (len(paths), *first.shape), first.dtype)
    for at, path in enumerate(paths):
        pixels = _pixels(path)
        if pixels.shape != first.shape:
            raise InvalidData(
                f"{path} has {pixels.shape[1]} x {pixels.shape[0]} pixels, but {paths[0]} has {first.shape[1]} x "
                f"{first.shape[0]}: expected one size for all; resize them."
            )
        x[at] = pixels
    return Loaded({"x": x}, {"y": np.array([path.parent.name for path in paths], str)})


def _pixels(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise InvalidData(
            f"{path} cannot be read as an image ({error}): it was cut off or is something else; replace or remove it."
        ) from None
