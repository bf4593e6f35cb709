"""Fewer triangles: quadric error metrics (Garland and Heckbert 1997) through fast-simplification, borders kept."""

from __future__ import annotations

from dataclasses import replace
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from .camera import Camera
from .mesh import Mesh

#: How quickly the error that is allowed grows from pass to pass. The first is so low that flat parts give up their
#: triangles before curved ones do; the others follow where that was not enough.
_AGGRESSIVENESS = (2.0, 3.0, 4.5, 7.0)

#: The library's errors are absolute: every mesh is brought to this size for it.
_SIZE = 10.0

# The library keeps its mesh in one global.
_library = Lock()


def simplified(mesh: Mesh, faces: int, *, camera: Camera | None = None, keep_border: bool = True) -> Mesh:
    """`mesh` with about `faces` triangles; what has a border keeps every vertex of it.

    camera: the camera that the mesh's picture was taken with; UVs are computed from it anew, exactly, where the mesh
    had some. Without it they are dropped, as normals and vertex colours are. Borders that have more triangles than
    asked for stay: the result can be larger. A mesh that is small enough already comes back as it is. Raises
    ValueError for a number of faces below 1, ImportError where fast-simplification is not installed.
    """
    if faces < 1:
        raise ValueError(f"faces is {faces}; a mesh keeps at least one")
    if faces >= len(mesh.faces):
        return mesh
    try:
        import fast_simplification
    except ImportError:
        raise ImportError("simplifying needs fast-simplification: pip install fast-simplification") from None
    low, high = (np.array([f(mesh.vertices[:, axis]) for axis in range(3)]) for f in (np.min, np.max))
    # Centred and scaled, because the library computes its quadrics in the coordinates that it is given.
    centre, scale = (low + high) / 2, _SIZE / max(float(np.linalg.norm(high - low)), 1e-30)
    vertices = (mesh.vertices - centre) * np.float32(scale)
    corners = mesh.faces.astype(np.int32)
    for aggressiveness in _AGGRESSIVENESS:
        with _library:
            vertices, corners = fast_simplification.simplify(
                vertices, corners, target_count=faces, agg=aggressiveness, preserve_border=keep_border
            )
        if len(corners) <= 1.02 * faces:
            break
    vertices = (vertices / scale + centre).astype(np.float32)
    out = Mesh(vertices, corners.astype(np.uint32), up=mesh.up).compacted()
    if mesh.uvs is not None and camera is not None:
        out = replace(out, uvs=projection_uvs(out.vertices, camera), texture=mesh.texture)
    return out


def projection_uvs(vertices: NDArray[np.float32], camera: Camera) -> NDArray[np.float32]:
    """Where scene points (n, 3) lie in the camera's picture, (n, 2) float32: u right, v down, 0 to 1 over it.

    Exact for whatever vertices a simplifier made, because the picture is the projection. Under an equirectangular
    camera, vertices of triangles across the seam would need both of its sides: keep such a mesh's own UVs.
    """
    if camera.projection == "equirectangular":
        raise ValueError("a panorama's UVs cannot be computed for each vertex alone; keep the mesh's own")
    pixels, _ = camera.project(vertices)
    return (pixels / (camera.width, camera.height)).astype(np.float32)
