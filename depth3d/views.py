"""New views of a mesh: stereo pairs, parallax and orbit films, depth of field. No screen is needed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt
from scipy.signal import fftconvolve

from .camera import Camera
from .mesh import Mesh
from .render import render
from .rigs import stereo

Picture = NDArray[np.uint8]

#: Film formats and the encoder that makes each.
_ENCODERS = {
    ".mp4": ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "18", "-movflags", "+faststart"],
    ".webm": ["-c:v", "libvpx-vp9", "-pix_fmt", "yuv420p", "-crf", "24", "-b:v", "0"],
}


def view(mesh: Mesh, camera: Camera, *, samples: int = 2, fill: bool = True) -> Picture:
    """What a camera sees of a mesh, (h, w, 3) uint8, `samples`² rays to a pixel.

    fill: give pixels that nothing covers the colour of the nearest one that is covered (else they are black): for the
    narrow strips that come into view at a picture's border. Holes behind edges are the layers' work.
    """
    big = camera.resized(camera.width * samples, camera.height * samples)
    drawn = render(mesh.vertices, mesh.faces, big, uvs=mesh.uvs, texture=mesh.texture, colours=mesh.colours)
    covered = drawn[..., 3] > 0
    colour = drawn[..., :3]
    if fill and covered.any() and not covered.all():
        row, column = distance_transform_edt(~covered, return_distances=False, return_indices=True)
        colour = colour[row, column]
    mean = colour.reshape(camera.height, samples, camera.width, samples, 3).mean(axis=(1, 3))
    return np.asarray(np.rint(mean), dtype=np.uint8)


def stereo_pair(
    mesh: Mesh, camera: Camera, baseline: float, *, convergence: float | None = None, samples: int = 2
) -> tuple[Picture, Picture]:
    """The left and the right eye's pictures; see `rigs.stereo`."""
    left, right = stereo(camera, baseline, convergence=convergence)
    return view(mesh, left, samples=samples), view(mesh, right, samples=samples)


def anaglyph(left: Picture, right: Picture) -> Picture:
    """A red-cyan picture of a stereo pair: red from the left eye, green and blue from the right."""
    return np.concatenate([left[..., :1], right[..., 1:]], axis=-1)


def film(mesh: Mesh, cameras: Sequence[Camera], *, samples: int = 1) -> Iterator[Picture]:
    """One picture for each camera (see `rigs.orbit` and `rigs.sway`), made as they are asked for."""
    for camera in cameras:
        yield view(mesh, camera, samples=samples)


def write_film(frames: Iterable[Picture], path: Path | str, *, frames_per_second: float = 25.0) -> None:
    """Writes pictures of one size as .gif, or as .mp4 or .webm through ffmpeg.

    Raises ValueError for another suffix or for no frames, and FileNotFoundError where ffmpeg is not installed.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".gif":
        images = [Image.fromarray(frame) for frame in frames]
        if not images:
            raise ValueError("there are no frames to write")
        duration = max(20, round(1000 / frames_per_second))
        images[0].save(path, save_all=True, append_images=images[1:], duration=duration, loop=0, optimize=True)
        return
    if suffix not in _ENCODERS:
        raise ValueError(f"{path.name} ends in {suffix or 'nothing'}; films are written as .gif, .mp4 or .webm")
    ffmpeg = _ffmpeg()
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise ValueError("there are no frames to write")
    height, width = first.shape[:2]
    # The encoders take even sides alone.
    command = [ffmpeg, "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
    command += ["-r", str(frames_per_second), "-i", "-", "-vf", "crop=trunc(iw/2)*2:trunc(ih/2)*2"]
    command += [*_ENCODERS[suffix], str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        try:
            process.stdin.write(np.ascontiguousarray(first).data)
            for frame in iterator:
                process.stdin.write(np.ascontiguousarray(frame).data)
            process.stdin.close()
        except BrokenPipeError:
            pass  # ffmpeg says why below.
        message = process.stderr.read().decode(errors="replace")
    if process.returncode:
        raise OSError(f"ffmpeg could not write {path}: {message.strip()}")


def depth_of_field(
    image: ArrayLike, depth: ArrayLike, *, focus: float, aperture: float, focal_length: float, layers: int = 24
) -> Picture:
    """A picture with a lens's blur, (h, w, 3) uint8.

    depth: (h, w) z, +inf where nothing is. focus: the depth that stays sharp. aperture: the lens's diameter, in scene
    units. focal_length: the camera's fx, in pixels. A point at z has a disc of aperture · fx · |1 / z − 1 / focus|
    pixels in diameter; the picture is cut into `layers` of like disparity that are blurred apart and laid over each
    other from the back, so that a sharp foreground does not bleed into a blurred background, nor the other way round.
    """
    picture, z = np.asarray(image)[..., :3].astype(np.float32), np.asarray(depth, dtype=np.float64)
    if z.shape != picture.shape[:2]:
        raise ValueError(f"depth has shape {z.shape}, the picture {picture.shape[:2]}; they must be of one size")
    if not focus > 0 or aperture < 0 or layers < 1:
        raise ValueError(f"focus is {focus}, aperture {aperture}, layers {layers}; they must be positive")
    signed = aperture * focal_length * (1 / z - 1 / focus) / 2
    edges = np.linspace(signed.min(), signed.max() + 1e-9, layers + 1)
    out = np.zeros_like(picture)
    weight = np.zeros(z.shape, np.float32)
    for low, high in pairwise(edges):
        inside = (signed >= low) & (signed < high)
        if not inside.any():
            continue
        disc = _disc(abs(float(np.median(signed[inside]))))
        alpha = inside.astype(np.float32)
        # What lies nearer hides this layer: it is continued behind, or its edge would fade to black.
        row, column = distance_transform_edt(~inside, return_distances=False, return_indices=True)
        spread = np.clip(fftconvolve(np.pad(alpha, len(disc) // 2, mode="edge"), disc, "valid"), 0, 1)
        colour = picture[row, column]
        pad = ((len(disc) // 2,) * 2, (len(disc) // 2,) * 2, (0, 0))
        blurred = fftconvolve(np.pad(colour, pad, mode="edge"), disc[..., None], "valid", axes=(0, 1))
        out = out * (1 - spread[..., None]) + blurred * spread[..., None]
        weight = weight * (1 - spread) + spread
    out /= np.maximum(weight, 1e-3)[..., None]
    return np.asarray(np.rint(np.clip(out, 0, 255)), dtype=np.uint8)


def _disc(radius: float) -> NDArray[np.float32]:
    """A disc of unit sum with soft rims; one pixel where the radius is below half a pixel."""
    if radius < 0.5:
        return np.ones((1, 1), np.float32)
    reach = int(np.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    return np.asarray(disc / disc.sum(), dtype=np.float32)


def _ffmpeg() -> str:
    """The program that encodes films: the system's, or else the one that the package imageio-ffmpeg brings."""
    found = shutil.which("ffmpeg")
    if found is not None:
        return found
    try:
        from imageio_ffmpeg import get_ffmpeg_exe
    except ImportError:
        remedy = "install ffmpeg, or the package: pip install imageio-ffmpeg; .gif needs neither"
        raise FileNotFoundError(f"films as .mp4 and .webm need the program ffmpeg: {remedy}") from None
    return str(get_ffmpeg_exe())
