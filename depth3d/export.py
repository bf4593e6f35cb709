"""Meshes to files: a table from suffix to writer, and the plain writers (PLY, OBJ with MTL, STL).

GLB is y up; the other formats are written in the mesh's own axes unless `up` asks for others (Blender converts GLB,
OBJ and USD when it reads them, but not PLY and STL: ask for "+z" there).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .glb import Material, encode_png, write_glb
from .mesh import Mesh, Up, v_flipped
from .usd import write_usd

_BLOCK = 1 << 15  # lines formatted at once


def export_mesh(mesh: Mesh, path: Path | str, *, material: Material | None = None, up: Up = "+y") -> list[Path]:
    """Writes a mesh in the format of the path's suffix and returns the files that were written, the mesh first.

    .glb: with texture and material. .obj: with .mtl and .png files beside it. .ply: binary, with normals, UVs and
    colours (no texture). .stl: binary, positions alone. .usda, .usdc, .usdz: see `usd`. up: the file's upward axis;
    glTF knows y alone. Raises ValueError for another suffix, or for a mesh without faces.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in WRITERS:
        raise ValueError(f"{path.name} ends in {suffix or 'nothing'}; meshes are written as {', '.join(WRITERS)}")
    if not len(mesh.faces):
        raise ValueError("the mesh has no triangles: the depth map is empty everywhere")
    if suffix == ".glb" and up != "+y":
        raise ValueError(f"up is {up!r}; glTF files are always y up")
    return WRITERS[suffix](mesh.turned(up) if suffix != ".glb" else mesh, path, material)


def write_ply(mesh: Mesh, path: Path | str) -> None:
    """Binary little-endian PLY; UVs as s and t, t upward, the names that Blender and MeshLab read."""
    fields: list[tuple[str, str, NDArray[np.generic]]] = []
    for axis, name in enumerate("xyz"):
        fields.append((name, "<f4", mesh.vertices[:, axis]))
    if mesh.normals is not None:
        fields += [(f"n{name}", "<f4", mesh.normals[:, axis]) for axis, name in enumerate("xyz")]
    if mesh.uvs is not None:
        fields += [("s", "<f4", mesh.uvs[:, 0]), ("t", "<f4", 1 - mesh.uvs[:, 1])]
    if mesh.colours is not None:
        fields += [(name, "u1", mesh.colours[:, axis]) for axis, name in enumerate(("red", "green", "blue"))]
    names = {"<f4": "float", "u1": "uchar"}
    header = ["ply", "format binary_little_endian 1.0", "comment Brushwire", f"element vertex {len(mesh.vertices)}"]
    header += [f"property {names[kind]} {name}" for name, kind, _ in fields]
    header += [f"element face {len(mesh.faces)}", "property list uchar uint vertex_indices", "end_header"]
    vertices = np.empty(len(mesh.vertices), [(name, kind) for name, kind, _ in fields])
    for name, _, values in fields:
        vertices[name] = values
    faces = np.empty(len(mesh.faces), [("count", "u1"), ("corners", "<u4", 3)])
    faces["count"], faces["corners"] = 3, mesh.faces
    with Path(path).open("wb") as file:
        file.write(("\n".join(header) + "\n").encode())
        file.write(vertices.view(np.uint8).data)
        file.write(faces.view(np.uint8).data)


def write_stl(mesh: Mesh, path: Path | str) -> None:
    """Binary STL with face normals; one unit is whatever the mesh's is (slicers take it for a millimetre)."""
    corners = mesh.vertices[mesh.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    out = np.zeros(len(mesh.faces), [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    out["normal"], out["corners"] = normals, corners
    with Path(path).open("wb") as file:
        file.write(b"Brushwire".ljust(80) + np.uint32(len(out)).tobytes())
        file.write(out.view(np.uint8).data)


def write_obj(mesh: Mesh, path: Path | str, material: Material | None = None) -> list[Path]:
    """Wavefront OBJ with its MTL, and PNG files for its pictures; returns the files. v runs upward, as OBJ has it."""
    path = Path(path)
    written = [path]
    pictures = _obj_pictures(mesh, path, material)
    with path.open("w", newline="\n") as file:
        if mesh.uvs is not None:
            file.write(f"mtllib {path.stem}.mtl\n")
        file.writelines(_rows("v", mesh.vertices))
        if mesh.uvs is not None:
            file.writelines(_rows("vt", v_flipped(mesh.uvs)))
        if mesh.normals is not None:
            file.writelines(_rows("vn", mesh.normals))
        file.write("usemtl material\n" if mesh.uvs is not None else "")
        corner = {
            (False, False): "{0}",
            (True, False): "{0}/{0}",
            (False, True): "{0}//{0}",
            (True, True): "{0}/{0}/{0}",
        }
        pattern = corner[mesh.uvs is not None, mesh.normals is not None].replace("{0}", "%d")
        repeat = pattern.count("%")
        for start in range(0, len(mesh.faces), _BLOCK):
            block = np.repeat(mesh.faces[start : start + _BLOCK].astype(np.int64) + 1, repeat, axis=1)
            file.write(("f " + " ".join([pattern] * 3) + "\n") * len(block) % tuple(block.ravel().tolist()))
    if mesh.uvs is not None:
        material = material or Material()
        lines = ["newmtl material", "Kd 1 1 1", "Ka 0 0 0", "Ks 0 0 0", "illum 1"]
        lines += [f"{key} {picture.name}" for key, picture, _ in pictures]
        mtl = path.with_suffix(".mtl")
        mtl.write_text("\n".join(lines) + "\n")
        written.append(mtl)
        for _, picture, data in pictures:
            picture.write_bytes(data)
            written.append(picture)
    return written


def _obj_pictures(mesh: Mesh, path: Path, material: Material | None) -> list[tuple[str, Path, bytes]]:
    """MTL's key, file and bytes of each picture."""
    material = material or Material()
    base = material.base_colour if material.base_colour is not None else mesh.texture
    out = []
    for key, name, picture in (("map_Kd", "", base), ("norm", "_normal", material.normal)):
        if picture is not None and mesh.uvs is not None:
            data = picture if isinstance(picture, bytes) else encode_png(picture)
            suffix = ".jpg" if data[:2] == b"\xff\xd8" else ".png"
            out.append((key, path.with_name(path.stem + name + suffix), data))
    return out


def _rows(key: str, values: NDArray[np.float32]) -> Iterator[str]:
    # Nine digits give every float32 back.
    line = key + " %.9g" * values.shape[1] + "\n"
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK]
        yield line * len(block) % tuple(block.ravel().tolist())


def _glb(mesh: Mesh, path: Path, material: Material | None) -> list[Path]:
    write_glb(mesh, path, material)
    return [path]


def _ply(mesh: Mesh, path: Path, material: Material | None) -> list[Path]:
    write_ply(mesh, path)
    return [path]


def _stl(mesh: Mesh, path: Path, material: Material | None) -> list[Path]:
    write_stl(mesh, path)
    return [path]


WRITERS: dict[str, Callable[[Mesh, Path, Material | None], list[Path]]] = {
    ".glb": _glb,
    ".obj": write_obj,
    ".ply": _ply,
    ".stl": _stl,
    ".usda": write_usd,
    ".usdc": write_usd,
    ".usdz": write_usd,
}
