"""Meshes from files: GLB, OBJ, PLY and STL, with the same geometry that was written."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .glb import read_glb
from .mesh import Mesh, Up, v_flipped

_PLY_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip


def load_mesh(path: Path | str, *, up: Up = "+y") -> Mesh:
    """A mesh from a .glb, .obj, .ply or .stl file. up: the file's upward axis (glTF's is always y).

    Raises FileNotFoundError, and ValueError for another suffix, a file that is cut off, or features not read here.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise ValueError(f"{path.name} ends in {suffix or 'nothing'}; meshes are read from {', '.join(READERS)}")
    return READERS[suffix](path, up)


def _read_glb(path: Path, up: Up) -> Mesh:
    mesh, pictures = read_glb(path)
    if "base_colour" not in pictures:
        return mesh
    picture = np.asarray(Image.open(io.BytesIO(pictures["base_colour"])).convert("RGB"))
    return Mesh(mesh.vertices, mesh.faces, mesh.uvs, mesh.normals, mesh.colours, picture, "+y")


def _read_stl(path: Path, up: Up) -> Mesh:
    data = path.read_bytes()
    if len(data) < 84 or (data[:5] == b"solid" and b"facet" in data[:512]):
        raise ValueError(f"{path} is a text STL or too short; binary STL is read here")
    count = int(np.frombuffer(data, "<u4", 1, 80)[0])
    if len(data) < 84 + 50 * count:
        raise ValueError(f"{path} is cut off: {count} triangles need {84 + 50 * count} bytes, there are {len(data)}")
    rows = np.frombuffer(data, [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")], count, 84)
    vertices, faces = np.unique(rows["corners"].reshape(-1, 3), axis=0, return_inverse=True)
    return Mesh(vertices, faces.reshape(-1, 3).astype(np.uint32), up=up)


def _read_ply(path: Path, up: Up) -> Mesh:
    data = path.read_bytes()
    end = data.find(b"end_header\n")
    if not data.startswith(b"ply") or end < 0:
        raise ValueError(f"{path} is not a PLY file, or its header is cut off")
    elements: list[tuple[str, int, list[list[str]]]] = []
    kind = ""
    for line in data[:end].decode("ascii", "replace").splitlines():
        words = line.split()
        if words[:1] == ["format"]:
            kind = words[1]
        elif words[:1] == ["element"]:
            elements.append((words[1], int(words[2]), []))
        elif words[:1] == ["property"]:
            elements[-1][2].append(words[1:])
    if kind != "binary_little_endian":
        raise ValueError(f"{path} is {kind} PLY; binary_little_endian is read here")
    offset = end + len(b"end_header\n")
    columns: dict[str, NDArray[np.generic]] = {}
    faces = np.zeros((0, 3), np.uint32)
    for name, count, properties in elements:
        dtype = _ply_dtype(path, properties)
        if len(data) < offset + count * dtype.itemsize:
            raise ValueError(f"{path} is cut off in its {name} list")
        rows = np.frombuffer(data, dtype, count, offset)
        offset += count * dtype.itemsize
        if name == "vertex":
            columns = {field: rows[field] for field in dtype.names or ()}
        elif name == "face":
            lists = [p[-1] for p in properties if p[0] == "list"]
            if count and not (rows["count"] == 3).all():
                raise ValueError(f"{path} has faces that are not triangles; triangulate it first")
            faces = rows[lists[0]].astype(np.uint32)

    def take(*names: str) -> NDArray[np.generic] | None:
        return np.stack([columns[n] for n in names], axis=1) if all(n in columns for n in names) else None

    vertices, uvs, normals, colours = (
        take("x", "y", "z"),
        take("s", "t"),
        take("nx", "ny", "nz"),
        take("red", "green", "blue"),
    )
    if vertices is None:
        raise ValueError(f"{path} has no vertex positions")
    return Mesh(
        vertices.astype(np.float32),
        faces,
        None if uvs is None else v_flipped(uvs),
        None if normals is None else normals.astype(np.float32),
        None if colours is None else colours.astype(np.uint8),
        up=up,
    )


def _ply_dtype(path: Path, properties: list[list[str]]) -> np.dtype[np.void]:
    fields: list[tuple[str, str] | tuple[str, str, int]] = []
    for words in properties:
        if words[0] == "list":
            # Lists are read as threes; the caller checks each row's count.
            fields += [("count", "<" + _PLY_TYPES[words[1]]), (words[3], "<" + _PLY_TYPES[words[2]], 3)]
        elif words[0] in _PLY_TYPES:
            fields.append((words[1], "<" + _PLY_TYPES[words[0]]))
        else:
            raise ValueError(f"{path} has a property of type {words[0]}, which PLY does not know")
    return np.dtype(fields)


def _read_obj(path: Path, up: Up) -> Mesh:
    rows: dict[str, list[list[float]]] = {"v": [], "vt": [], "vn": []}
    corners: list[tuple[int, int, int]] = []
    for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
        words = line.split()
        if not words:
            continue
        if words[0] in rows:
            rows[words[0]].append([float(w) for w in words[1:4]])
        elif words[0] == "f":
            polygon = []
            for word in words[1:]:
                part = [int(w) if w else 0 for w in word.split("/")] + [0, 0]
                counts = (len(rows["v"]), len(rows["vt"]), len(rows["vn"]))
                # Negative numbers count back from the last one read.
                a, b, c = (i + n + 1 if i < 0 else i for i, n in zip(part[:3], counts, strict=True))
                if not 0 < a <= counts[0]:
                    raise ValueError(f"{path}:{number}: a face names vertex {word}, which is not there")
                polygon.append((a - 1, b - 1, c - 1))
            for i in range(1, len(polygon) - 1):
                corners += [polygon[0], polygon[i], polygon[i + 1]]
    if not rows["v"]:
        raise ValueError(f"{path} has no vertices")
    # OBJ indexes places, UVs and normals apart; a vertex here is one combination of the three.
    unique, faces = np.unique(np.array(corners, np.int64).reshape(-1, 3), axis=0, return_inverse=True)
    order = np.argsort(unique[:, 0], kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    unique = unique[order]

    def take(key: str, column: int, width: int) -> NDArray[np.float32] | None:
        if not rows[key] or (unique[:, column] < 0).any():
            return None
        return np.array(rows[key], np.float32)[unique[:, column], :width]

    vertices, uvs = take("v", 0, 3), take("vt", 1, 2)
    assert vertices is not None
    if uvs is not None:
        uvs = v_flipped(uvs)
    return Mesh(vertices, rank[faces.reshape(-1)].reshape(-1, 3).astype(np.uint32), uvs, take("vn", 2, 3), up=up)


READERS: dict[str, Callable[[Path, Up], Mesh]] = {
    ".glb": _read_glb,
    ".obj": _read_obj,
    ".ply": _read_ply,
    ".stl": _read_stl,
}
