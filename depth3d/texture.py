"""Textures for simplified meshes: what simplifying took away, kept as a normal map and a height map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .camera import OPENGL_FLIP, Camera
from .depth import check_depth
from .mesh import Mesh, vertex_normals
from .normals import CUT_RATIO, normals_from_depth, normals_to_opengl
from .render import rasterise


@dataclass(frozen=True, eq=False)
class DetailMaps:
    """normal: (h, w, 3) uint8, tangent space, OpenGL's (+Y). height: (h, w) float32, scene units along the mesh's
    normal from the simplified surface to the full one; both over the camera's picture, the projection UVs' layout.
    """

    normal: NDArray[np.uint8]
    height: NDArray[np.float32]


def detail_maps(mesh: Mesh, depth: ArrayLike, camera: Camera, *, cut_ratio: float = CUT_RATIO) -> DetailMaps:
    """The details of a full-resolution depth map on a simplified mesh that has the camera's projection UVs.

    The mesh's own normals are used, or else area-weighted ones; a viewer must use the same (export them). Texels where
    mesh and depth lie on unlike surfaces (at silhouettes) are flat.
    """
    z = check_depth(depth)
    if mesh.uvs is None:
        raise ValueError("the mesh has no uvs; detail maps lie on projection UVs (see simplify.projection_uvs)")
    # From camera space (y up, z to the viewer) into the scene's axes, where the mesh is.
    full = normals_from_depth(z, camera, cut_ratio=cut_ratio) @ (camera.camera_to_world @ OPENGL_FLIP)[:3, :3].T
    raster = rasterise(mesh.vertices, mesh.faces, camera)
    vertex = mesh.normals if mesh.normals is not None else vertex_normals(mesh)
    n = raster.interpolate(mesh.faces, vertex).astype(np.float64)
    n /= np.maximum(np.linalg.norm(n, axis=-1, keepdims=True), 1e-20)
    t = raster.interpolate(mesh.faces, _vertex_tangents(mesh)).astype(np.float64)
    t -= n * (n * t).sum(axis=-1, keepdims=True)
    t /= np.maximum(np.linalg.norm(t, axis=-1, keepdims=True), 1e-20)
    b = np.cross(n, t)
    with np.errstate(invalid="ignore"):
        same = raster.covered & np.isfinite(z) & (np.abs(raster.depth - z) <= cut_ratio * z) & full.any(axis=-1)
    tangent = np.zeros_like(n)
    tangent[..., 2] = 1
    for axis, direction in enumerate((t, b, n)):
        tangent[..., axis] = np.where(same, (full * direction).sum(axis=-1), tangent[..., axis])
    # A texel whose detail looks away from the mesh's own front cannot be lit; it stays flat.
    tangent[tangent[..., 2] <= 0] = (0, 0, 1)
    with np.errstate(invalid="ignore"):
        gap = camera.unproject(np.where(same, z, 1)) - camera.unproject(np.where(same, raster.depth, 1))
    return DetailMaps(normals_to_opengl(tangent), np.where(same, (gap * n).sum(axis=-1), 0).astype(np.float32))


def unwrapped(mesh: Mesh) -> Mesh:
    """A closed mesh (a relief, a fused scan) with UVs in one atlas by xatlas; vertices on its seams are doubled.

    Raises ImportError where xatlas is not installed.
    """
    try:
        import xatlas
    except ImportError:
        raise ImportError("unwrapping needs the package xatlas: pip install xatlas") from None
    source, faces, uvs = xatlas.parametrize(mesh.vertices, mesh.faces.astype(np.uint32))
    return Mesh(
        mesh.vertices[source],
        np.asarray(faces, np.uint32),
        np.asarray(uvs, np.float32),
        None if mesh.normals is None else mesh.normals[source],
        None if mesh.colours is None else mesh.colours[source],
        up=mesh.up,
    )


def _vertex_tangents(mesh: Mesh) -> NDArray[np.float32]:
    """The direction in which u grows, at each vertex, (n, 3): the mean over its faces, weighted by their size."""
    assert mesh.uvs is not None
    v, f, uv = mesh.vertices.astype(np.float64), mesh.faces, mesh.uvs.astype(np.float64)
    e1, e2 = v[f[:, 1]] - v[f[:, 0]], v[f[:, 2]] - v[f[:, 0]]
    d1, d2 = uv[f[:, 1]] - uv[f[:, 0]], uv[f[:, 2]] - uv[f[:, 0]]
    turn = np.sign(d1[:, 0] * d2[:, 1] - d2[:, 0] * d1[:, 1])[:, None]
    tangent = (e1 * d2[:, 1:] - e2 * d1[:, 1:]) * turn
    out = np.zeros_like(v)
    for axis in range(3):
        for corner in range(3):
            out[:, axis] += np.bincount(f[:, corner], weights=tangent[:, axis], minlength=len(v))
    return out.astype(np.float32)
