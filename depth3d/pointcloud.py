"""Point clouds from depth maps, fused from several views, and a closed surface through them (Poisson, by open3d)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .camera import OPENGL_FLIP, Camera
from .depth import check_depth
from .mesh import Mesh
from .normals import normals_from_depth


@dataclass(frozen=True, eq=False)
class PointCloud:
    """points, normals: (n, 3) float32 in the scene's axes. colours: (n, 3) uint8, or None."""

    points: NDArray[np.float32]
    normals: NDArray[np.float32]
    colours: NDArray[np.uint8] | None = None


def point_cloud(depth: ArrayLike, camera: Camera, image: ArrayLike | None = None) -> PointCloud:
    """A point with its normal for each pixel of a (h, w) depth map that has a depth. image: (h, w, 3) uint8."""
    z = check_depth(depth)
    seen = np.isfinite(z)
    points = camera.unproject(np.where(seen, z, 1))[seen]
    normals = normals_from_depth(z, camera)[seen] @ (camera.camera_to_world @ OPENGL_FLIP)[:3, :3].T
    colours = None
    if image is not None:
        picture = np.asarray(image)
        if picture.shape[:2] != z.shape:
            raise ValueError(f"the picture is {picture.shape[:2]}, the depth {z.shape}; they must be of one size")
        colours = np.asarray(picture[seen][:, :3], dtype=np.uint8)
    return PointCloud(points.astype(np.float32), normals.astype(np.float32), colours)


def fused(clouds: Sequence[PointCloud], voxel: float) -> PointCloud:
    """Several clouds as one, with one mean point for each voxel (side in scene units) and normal's hemisphere.

    Points on the two sides of a thin wall look away from each other and are kept apart.
    """
    if not voxel > 0:
        raise ValueError(f"voxel is {voxel}; it must be a positive length")
    if not clouds:
        raise ValueError("there are no clouds to fuse")
    points = np.concatenate([c.points for c in clouds]).astype(np.float64)
    normals = np.concatenate([c.normals for c in clouds]).astype(np.float64)
    side = np.abs(normals).argmax(axis=1)
    sign = np.take_along_axis(normals, side[:, None], 1)[:, 0] > 0
    key = np.column_stack([np.floor(points / voxel).astype(np.int64), side * 2 + sign])
    _, cell, count = np.unique(key, axis=0, return_inverse=True, return_counts=True)
    cell = cell.reshape(-1)

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack([np.bincount(cell, values[:, k]) / count for k in range(values.shape[1])], axis=1)

    direction = mean(normals)
    direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-20)
    colours = None
    if all(c.colours is not None for c in clouds):
        all_colours = np.concatenate([c.colours for c in clouds if c.colours is not None]).astype(np.float64)
        colours = np.rint(mean(all_colours)).astype(np.uint8)
    return PointCloud(mean(points).astype(np.float32), direction.astype(np.float32), colours)


def poisson_mesh(cloud: PointCloud, *, depth: int = 9, trim: float = 0.02) -> Mesh:
    """A surface through a cloud with normals (Kazhdan and Hoppe 2013), with vertex colours where the cloud has some.

    depth: of the octree. trim: the share of vertices with the least support that are cut off; 0 keeps it closed.
    For fused clouds of views all around; for one view use `mesh.corner_mesh`, which does not bridge depth edges.
    Raises ImportError where open3d is not installed.
    """
    try:
        import open3d
    except ImportError:
        raise ImportError("Poisson surfaces need the package open3d: pip install open3d") from None
    source = open3d.geometry.PointCloud()
    source.points = open3d.utility.Vector3dVector(cloud.points.astype(np.float64))
    source.normals = open3d.utility.Vector3dVector(cloud.normals.astype(np.float64))
    if cloud.colours is not None:
        source.colors = open3d.utility.Vector3dVector(cloud.colours / 255)
    surface, density = open3d.geometry.TriangleMesh.create_from_point_cloud_poisson(source, depth=depth)
    if trim > 0:
        support = np.asarray(density)
        surface.remove_vertices_by_mask(support < np.quantile(support, trim))
    # open3d gives black ones where the cloud has none.
    colours = np.rint(np.asarray(surface.vertex_colors) * 255).astype(np.uint8) if cloud.colours is not None else None
    vertices = np.asarray(surface.vertices, dtype=np.float32)
    return Mesh(vertices, np.asarray(surface.triangles, dtype=np.uint32), colours=colours)


def write_points(cloud: PointCloud, path: Path | str) -> None:
    """Writes a cloud as binary little-endian .ply with normals and colours."""
    path = Path(path)
    if path.suffix.lower() != ".ply":
        raise ValueError(f"{path.name} ends in {path.suffix or 'nothing'}; point clouds are written as .ply")
    fields = [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("nx", "<f4"), ("ny", "<f4"), ("nz", "<f4")]
    if cloud.colours is not None:
        fields += [("red", "u1"), ("green", "u1"), ("blue", "u1")]
    rows = np.empty(len(cloud.points), fields)
    for i, name in enumerate(("x", "y", "z")):
        rows[name], rows[f"n{name}"] = cloud.points[:, i], cloud.normals[:, i]
    if cloud.colours is not None:
        for i, name in enumerate(("red", "green", "blue")):
            rows[name] = cloud.colours[:, i]
    types = {"<f4": "float", "u1": "uchar"}
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}"]
    header += [f"property {types[kind]} {name}" for name, kind in fields] + ["end_header"]
    with path.open("wb") as file:
        file.write(("\n".join(header) + "\n").encode())
        file.write(rows.view(np.uint8).data)
