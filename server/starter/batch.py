"""What every maker of training pictures returns: pictures with perfect labels, as tensors on one device."""

from __future__ import annotations

from dataclasses import dataclass

import torch

#: Marks "this picture has no such label" in the integer label tensors.
NONE = -1


@dataclass
class Batch:
    """b pictures of h×w pixels, with everything that is known about them.

    image: (b, 3, h, w) float32, sRGB in [0, 1].
    captions: b sentences or tag lists.
    material, color, shape, action: (b,) int64, indices into `words.MATERIALS`, `words.COLORS`, `words.SHAPES` and
        `poses.ACTIONS`; `NONE` where the caption does not name one. For a scene they speak of its main solid.
    depth: (b, h, w) float32, z along the camera's axis in scene units, +inf where nothing is; None for materials.
    normals: (b, 3, h, w) float32, camera space, unit length, x right, y up, z toward the viewer; zero where
        nothing is; None for materials.
    keypoints: (b, 18, 3) float32, COCO-18 body keypoints as (x, y, visibility) in pixels with centres at
        (i + 0.5), visibility 0 = outside of the picture or behind the camera, 1 = hidden, 2 = seen;
        None where there are no people.
    subject: (b, h, w) bool, the silhouette of the main solid or person; None for materials.
    """

    image: torch.Tensor
    captions: list[str]
    material: torch.Tensor
    color: torch.Tensor
    shape: torch.Tensor
    action: torch.Tensor
    depth: torch.Tensor | None = None
    normals: torch.Tensor | None = None
    keypoints: torch.Tensor | None = None
    subject: torch.Tensor | None = None
