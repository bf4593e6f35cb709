"""Meshes: triangles with what an exporter may want of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

Up = Literal["-y", "+y", "+z"]


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles with what an exporter may want of them.

    vertices: (n, 3) float32. faces: (m, 3) uint32, counterclockwise as seen from outside. uvs: (n, 2) float32, u to
    the right and v *down*, 0 to 1 over the texture. normals: (n, 3) float32 unit, in the vertices' axes. colours:
    (n, 3) uint8. texture: (h, w, 3 or 4) uint8. up: the axis that points up; "-y" is OpenCV's camera.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.uint32]
    uvs: NDArray[np.float32] | None = None
    normals: NDArray[np.float32] | None = None
    colours: NDArray[np.uint8] | None = None
    texture: NDArray[np.uint8] | None = None
    up: Up = "-y"

    def __post_init__(self) -> None:
        for name, columns in (("vertices", 3), ("faces", 3), ("uvs", 2), ("normals", 3), ("colours", 3)):
            value = getattr(self, name)
            if value is not None and (value.ndim != 2 or value.shape[1] != columns):
                raise ValueError(f"mesh {name} has shape {value.shape}; it must be (n, {columns})")
        if self.up not in get_args(Up):
            raise ValueError(f"mesh up is {self.up!r}; use one of {get_args(Up)}")

    def transformed(self, matrix: ArrayLike, up: Up | None = None) -> Mesh:
        """The mesh moved by a rigid or scaling (4, 4) matrix without reflection."""
        m = np.asarray(matrix, dtype=np.float64)
        normals = None
        if self.normals is not None:
            normals = self.normals @ np.linalg.inv(m[:3, :3]).astype(np.float32)
            normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)
        moved = self.vertices @ m[:3, :3].T.astype(np.float32) + m[:3, 3].astype(np.float32)
        return replace(self, vertices=moved, normals=normals, up=up or self.up)

    def turned(self, up: Up) -> Mesh:
        """The mesh in axes with another way up: x stays, right-handedness too."""
        if up == self.up:
            return self
        # To y up, then from there.
        to_y = {"+y": np.eye(3), "-y": np.diag([1, -1, -1]), "+z": np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])}
        matrix = np.eye(4)
        matrix[:3, :3] = to_y[up].T @ to_y[self.up]
        return self.transformed(matrix, up)

    def compacted(self) -> Mesh:
        """Without the vertices that no face uses."""
        used = np.zeros(len(self.vertices), bool)
        used[self.faces.ravel()] = True
        if used.all():
            return self
        number = (np.cumsum(used) - 1).astype(np.uint32)

        def kept(values: Any) -> Any:
            return None if values is None else values[used]

        return replace(
            self, vertices=self.vertices[used], faces=number[self.faces],
            uvs=kept(self.uvs), normals=kept(self.normals), colours=kept(self.colours),
        )  # fmt: skip


def merged(meshes: list[Mesh]) -> Mesh:
    """Several meshes as one, in the first one's axes; a part survives where every mesh has it. Textures do not."""
    meshes = [mesh.turned(meshes[0].up) for mesh in meshes]
    offsets = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes[:-1])])

    def together(name: str) -> Any:
        parts = [getattr(mesh, name) for mesh in meshes]
        return None if any(part is None for part in parts) else np.concatenate(parts)

    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.faces + np.uint32(o) for mesh, o in zip(meshes, offsets, strict=True)]),
        together("uvs"),
        together("normals"),
        together("colours"),
        up=meshes[0].up,
    )


def v_flipped(uvs: NDArray[Any]) -> NDArray[np.float32]:
    """UVs (n, 2) float32 with v counted from the other side: top-down to bottom-up, or back."""
    return np.stack([uvs[:, 0], 1 - uvs[:, 1]], axis=1).astype(np.float32)


def vertex_normals(mesh: Mesh) -> NDArray[np.float32]:
    """Area-weighted normals of the vertices, (n, 3) float32 unit; zero for vertices without faces."""
    v, f = mesh.vertices, mesh.faces
    a = v[f[:, 0]]
    cross = np.cross(v[f[:, 1]] - a, v[f[:, 2]] - a)
    out = np.empty_like(v)
    for axis in range(3):
        total = np.zeros(len(v))
        for corner in range(3):
            total += np.bincount(f[:, corner], weights=cross[:, axis], minlength=len(v))
        out[:, axis] = total
    length = np.linalg.norm(out, axis=1, keepdims=True)
    unit: NDArray[np.float32] = np.divide(out, length, out=np.zeros_like(out), where=length > 0)
    return unit
