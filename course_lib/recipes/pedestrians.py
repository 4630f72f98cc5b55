"""Make the pedestrian frames that ship with the course from OpenCV's sample video.

    apt-get download opencv-doc && dpkg -x opencv-doc_*.deb opencv
    pip install av==18.1.0
    python -m course_lib.recipes.pedestrians opencv/usr/share/doc/opencv-doc/examples/data/vtest.avi

PyAV is needed here alone and is no dependency of the course. Kept are a strip of the scene where
people walk, averaged over 3 x 3 pixels, and 7 of 8 bits: half a step is below the camera's noise.
"""

import argparse
import hashlib
import importlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from course_lib.data.pedestrians import NUM_FRAMES, PEDESTRIANS_FILE, STRIP_SHAPE

SHA256 = "45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf"
SHRINK = 3  # pixels of the video a side, for one of ours
TOP, LEFT = 46, 56  # of the strip, in our pixels
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def decode(video: Path) -> Iterator[np.ndarray]:
    """The colour frames (H, W, 3) of the video, as bytes.

    Raises:
        ValueError: The file is not the original, by its SHA-256.
    """
    digest = hashlib.sha256(video.read_bytes()).hexdigest()
    if digest != SHA256:
        raise ValueError(f"{video.name} has SHA-256 {digest}; the original has {SHA256}")
    av = importlib.import_module("av")
    with av.open(str(video)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def shrink(frame: np.ndarray) -> np.ndarray:
    """The strip of one colour frame: grey, each pixel the mean of 3 x 3, from 0 to 127."""
    height, width = frame.shape[0] // SHRINK, frame.shape[1] // SHRINK
    grey = (frame @ np.array(LUMA)).reshape(height, SHRINK, width, SHRINK).mean((1, 3))
    rows, columns = STRIP_SHAPE
    strip = grey[TOP : TOP + rows, LEFT : LEFT + columns]
    return np.rint(strip / 2).clip(0, 127).astype(np.uint8)


def main() -> None:
    """Decode, shrink and write `data/pedestrians.npz`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("video", type=Path, help="vtest.avi of the Debian package opencv-doc")
    strips = np.stack([shrink(frame) for frame in decode(parser.parse_args().video)])
    if len(strips) != NUM_FRAMES:
        raise ValueError(f"the video has {len(strips)} frames; the original has {NUM_FRAMES}")
    # Differences in time, modulo 256, compress to 60 % of the frames themselves.
    changes = np.diff(strips, axis=0, prepend=np.zeros_like(strips[:1]))
    np.savez_compressed(PEDESTRIANS_FILE, changes=changes)


if __name__ == "__main__":
    main()
