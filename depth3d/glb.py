"""glTF 2.0 binary files: one buffer, written straight from the arrays, and read back.

Specification: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html. Vertices are y up and right-handed, u to the
right and v down, as glTF has them. Nothing is copied as a whole: positions are turned a block at a time.
"""

from __future__ import annotations

import io
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .mesh import Mesh

Picture = NDArray[np.uint8] | bytes

# sRGB's curve (IEC 61966-2-1) at each of its 256 steps, in 16-bit linear.
_STEPS = np.arange(256) / 255
_LINEAR = np.rint(np.where(_STEPS <= 0.04045, _STEPS / 12.92, ((_STEPS + 0.055) / 1.055) ** 2.4) * 65535).astype("<u2")

#: Which axis each of x, y, z is taken from, and its sign.
_Turn = tuple[tuple[int, int, int], tuple[int, int, int]]

_BLOCK = 1 << 14  # vertices turned at once: they stay in the processor's cache
_FOLD = 256  # rows that are reduced side by side

_FLOAT, _UINT, _USHORT, _UBYTE = 5126, 5125, 5123, 5121
_DTYPES: dict[int, np.dtype[Any]] = {
    _FLOAT: np.dtype("<f4"),
    _UINT: np.dtype("<u4"),
    _USHORT: np.dtype("<u2"),
    _UBYTE: np.dtype("u1"),
}
_COUNTS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
_MAGIC, _JSON, _BIN = 0x46546C67, 0x4E4F534A, 0x004E4942


@dataclass(frozen=True, eq=False)
class Material:
    """A metallic-roughness material. Pictures are (h, w, 3 or 4) uint8 or the bytes of a PNG or JPEG file.

    base_colour: sRGB; without it the mesh's texture. metallic_roughness: linear, roughness in green, metalness in
    blue. normal: tangent space, OpenGL's (+Y). occlusion: linear, in red. unlit: shown as it is, without light.
    repeats: its pictures go on beyond 0 and 1; else their edge does.
    """

    base_colour: Picture | None = None
    metallic_roughness: Picture | None = None
    normal: Picture | None = None
    occlusion: Picture | None = None
    metallic: float = 0.0
    roughness: float = 1.0
    double_sided: bool = True
    unlit: bool = False
    repeats: bool = False


def write_glb(mesh: Mesh, path: Path | str, material: Material | None = None) -> None:
    """Writes a mesh, turned y up, as one .glb file. Raises ValueError where it has no faces or is beyond 4 GiB."""
    if not len(mesh.faces):
        raise ValueError("the mesh has no triangles; glTF cannot hold an empty one")
    material = material or Material()
    document, parts, length = _document(mesh, material)
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    total = 12 + 8 + len(text) + 8 + length
    if total >= 1 << 32:
        raise ValueError(f"the file would be {total >> 20} MiB; GLB ends at 4 GiB. Simplify the mesh or export PLY")
    with Path(path).open("wb") as file:
        file.write(struct.pack("<III", _MAGIC, 2, total))
        file.write(struct.pack("<II", len(text), _JSON) + text)
        file.write(struct.pack("<II", length, _BIN))
        for part in parts:
            part.write(file)


def read_glb(path: Path | str) -> tuple[Mesh, dict[str, bytes]]:
    """The first primitive of a .glb file's first mesh, and its material's pictures by name, as file bytes.

    Names are those of `Material`'s fields. Raises ValueError for files that are cut off or not GLB, and for features
    that are not read here (sparse accessors, external buffers, compressed meshes).
    """
    data = Path(path).read_bytes()
    if len(data) < 20 or struct.unpack_from("<I", data)[0] != _MAGIC:
        raise ValueError(f"{path} is not a GLB file")
    total, size = struct.unpack_from("<8xII", data)
    if len(data) < total or 20 + size > total:
        raise ValueError(f"{path} is cut off: its header says {total} bytes, there are {len(data)}")
    document = json.loads(data[20 : 20 + size])
    binary = memoryview(data)[28 + size : total]
    try:
        primitive = document["meshes"][0]["primitives"][0]
    except (KeyError, IndexError):
        raise ValueError(f"{path} holds no mesh") from None
    if primitive.get("extensions"):
        raise ValueError(f"{path} uses {', '.join(primitive['extensions'])}, which is not read here")

    def array(number: int) -> NDArray[Any]:
        accessor = document["accessors"][number]
        if "sparse" in accessor or "bufferView" not in accessor:
            raise ValueError(f"{path} has a sparse accessor, which is not read here")
        view = document["bufferViews"][accessor["bufferView"]]
        dtype, columns = _DTYPES[accessor["componentType"]], _COUNTS[accessor["type"]]
        start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
        stride = view.get("byteStride", dtype.itemsize * columns)
        shape, strides = (accessor["count"], columns), (stride, dtype.itemsize)
        return np.ndarray(shape, dtype, binary, start, strides).copy()

    attributes = primitive["attributes"]
    vertices = array(attributes["POSITION"])
    faces = array(primitive["indices"]) if "indices" in primitive else np.arange(len(vertices))
    colours = _srgb(array(attributes["COLOR_0"])[:, :3]) if "COLOR_0" in attributes else None
    mesh = Mesh(
        vertices,
        faces.reshape(-1, 3).astype(np.uint32),
        array(attributes["TEXCOORD_0"]) if "TEXCOORD_0" in attributes else None,
        array(attributes["NORMAL"]) if "NORMAL" in attributes else None,
        colours,
        up="+y",
    )
    return mesh, _pictures(document, primitive, binary)


@dataclass(frozen=True, eq=False)
class _Part:
    """A run of the binary chunk. turn: where each of x, y, z comes from and with which sign, while it is written."""

    data: NDArray[Any] | bytes
    turn: _Turn | None = None

    @property
    def size(self) -> int:
        return len(self.data) if isinstance(self.data, bytes) else self.data.nbytes

    def write(self, file: BinaryIO) -> None:
        if isinstance(self.data, bytes):
            file.write(self.data)
        elif self.turn is None:
            file.write(np.ascontiguousarray(self.data).reshape(-1).view(np.uint8).data)
        else:
            self._write_turned(file, self.data, self.turn)
        file.write(bytes(-self.size % 4))

    def _write_turned(self, file: BinaryIO, rows: NDArray[Any], turn: _Turn) -> None:
        order, signs = turn
        block = np.empty((min(_BLOCK, len(rows)), 3), "<f4")
        # One long row of signs is multiplied many times as fast as rows of three.
        long_signs = np.tile(np.array(signs, np.float32), len(block))
        for start in range(0, len(rows), _BLOCK):
            part = rows[start : start + _BLOCK]
            out = block[: len(part)]
            if order != (0, 1, 2):
                part = part[:, order]
            np.multiply(np.ascontiguousarray(part).reshape(-1), long_signs[: out.size], out=out.reshape(-1))
            file.write(out.data)


def _column_ends(rows: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The smallest and the largest value of each column of (n, 3) rows."""
    whole = len(rows) // _FOLD * _FOLD
    parts = [rows[whole:]] if whole < len(rows) else []
    if whole:
        # Folded into long rows, which numpy reduces many times as fast as rows of three.
        folded = np.ascontiguousarray(rows[:whole]).reshape(-1, 3 * _FOLD)
        parts += [folded.min(axis=0).reshape(-1, 3), folded.max(axis=0).reshape(-1, 3)]
    ends = np.concatenate(parts).astype(np.float64)
    return ends.min(axis=0), ends.max(axis=0)


def _document(mesh: Mesh, material: Material) -> tuple[dict[str, Any], list[_Part], int]:
    turn = _turn_to_y(mesh.up)
    parts: list[_Part] = []
    views: list[dict[str, int]] = []
    accessors: list[dict[str, Any]] = []

    def view(part: _Part, target: int | None = None) -> int:
        offset = sum(p.size + -p.size % 4 for p in parts)
        views.append(
            {"buffer": 0, "byteOffset": offset, "byteLength": part.size} | ({"target": target} if target else {})
        )
        parts.append(part)
        return len(views) - 1

    def accessor(part: _Part, kind: str, component: int, count: int, target: int, **more: Any) -> int:
        accessors.append(
            {"bufferView": view(part, target), "componentType": component, "count": count, "type": kind} | more
        )
        return len(accessors) - 1

    count = len(mesh.vertices)
    order, signs = turn or ((0, 1, 2), (1, 1, 1))
    ends = np.stack(_column_ends(mesh.vertices))[:, order] * signs
    attributes = {
        "POSITION": accessor(
            _Part(mesh.vertices.astype("<f4", copy=False), turn), "VEC3", _FLOAT, count, 34962,
            min=ends.min(axis=0).tolist(), max=ends.max(axis=0).tolist(),
        )
    }  # fmt: skip
    if mesh.normals is not None:
        attributes["NORMAL"] = accessor(
            _Part(mesh.normals.astype("<f4", copy=False), turn), "VEC3", _FLOAT, count, 34962
        )
    if mesh.uvs is not None:
        attributes["TEXCOORD_0"] = accessor(_Part(mesh.uvs.astype("<f4", copy=False)), "VEC2", _FLOAT, count, 34962)
    if mesh.colours is not None:
        # glTF's vertex colours are linear, unlike its pictures; 16 bits keep every sRGB shade apart.
        opaque = np.full((count, 4), 65535, "<u2")
        opaque[:, :3] = _LINEAR[mesh.colours]
        attributes["COLOR_0"] = accessor(_Part(opaque), "VEC4", _USHORT, count, 34962, normalized=True)
    indices = accessor(_Part(mesh.faces.astype("<u4", copy=False)), "SCALAR", _UINT, mesh.faces.size, 34963)
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "Brushwire"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "mesh"}],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": indices, "material": 0}]}],
    }
    _add_material(document, material, mesh, view)
    length = sum(p.size + -p.size % 4 for p in parts)
    document |= {"accessors": accessors, "bufferViews": views, "buffers": [{"byteLength": length}]}
    return document, parts, length


def _add_material(document: dict[str, Any], material: Material, mesh: Mesh, view: Any) -> None:
    images: list[dict[str, Any]] = []

    def texture(picture: Picture) -> dict[str, int]:
        data = picture if isinstance(picture, bytes) else encode_png(picture)
        kind = "image/png" if data[:4] == b"\x89PNG" else "image/jpeg" if data[:2] == b"\xff\xd8" else None
        if kind is None:
            raise ValueError("a material's picture is neither an array nor a PNG or JPEG file; glTF holds no others")
        images.append({"bufferView": view(_Part(data)), "mimeType": kind})
        return {"index": len(images) - 1}

    pbr: dict[str, Any] = {"metallicFactor": material.metallic, "roughnessFactor": material.roughness}
    out: dict[str, Any] = {"pbrMetallicRoughness": pbr, "doubleSided": material.double_sided}
    base = material.base_colour if material.base_colour is not None else mesh.texture
    if mesh.uvs is not None:
        if base is not None:
            pbr["baseColorTexture"] = texture(base)
        if material.metallic_roughness is not None:
            pbr["metallicRoughnessTexture"] = texture(material.metallic_roughness)
        if material.normal is not None:
            out["normalTexture"] = texture(material.normal)
        if material.occlusion is not None:
            out["occlusionTexture"] = texture(material.occlusion)
    elif any(p is not None for p in (base, material.metallic_roughness, material.normal, material.occlusion)):
        raise ValueError("the mesh has no uvs, so no picture can lie on it; give uvs or leave the pictures out")
    if material.unlit:
        out["extensions"] = {"KHR_materials_unlit": {}}
        document["extensionsUsed"] = ["KHR_materials_unlit"]
    document["materials"] = [out]
    if images:
        # Clamped, or the border's texels would mix with those of the opposite side.
        wrap = 10497 if material.repeats else 33071
        document["samplers"] = [{"magFilter": 9729, "minFilter": 9987, "wrapS": wrap, "wrapT": wrap}]
        document["textures"] = [{"sampler": 0, "source": i} for i in range(len(images))]
        document["images"] = images


def encode_png(picture: NDArray[np.uint8]) -> bytes:
    """A (h, w), (h, w, 3) or (h, w, 4) uint8 picture as the bytes of a PNG file."""
    if picture.dtype != np.uint8:
        raise ValueError(f"a picture has dtype {picture.dtype}; textures are uint8")
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG", compress_level=3)
    return out.getvalue()


def _srgb(linear: NDArray[Any]) -> NDArray[np.uint8]:
    """Linear colours as glTF stores them, floats or normalized integers, to sRGB's 8 bits."""
    full = np.iinfo(linear.dtype).max if linear.dtype.kind == "u" else 1
    value = np.clip(linear.astype(np.float64) / full, 0, 1)
    curved = np.where(value <= 0.0031308, 12.92 * value, 1.055 * value ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(curved * 255), dtype=np.uint8)


def _turn_to_y(up: str) -> _Turn | None:
    if up == "+y":
        return None
    return ((0, 1, 2), (1, -1, -1)) if up == "-y" else ((0, 2, 1), (1, 1, -1))


def _pictures(document: dict[str, Any], primitive: dict[str, Any], binary: memoryview) -> dict[str, bytes]:
    if "material" not in primitive:
        return {}
    material = document["materials"][primitive["material"]]
    pbr = material.get("pbrMetallicRoughness", {})
    found = {
        "base_colour": pbr.get("baseColorTexture"),
        "metallic_roughness": pbr.get("metallicRoughnessTexture"),
        "normal": material.get("normalTexture"),
        "occlusion": material.get("occlusionTexture"),
    }
    out = {}
    for name, reference in found.items():
        if reference is not None:
            image = document["images"][document["textures"][reference["index"]]["source"]]
            if "bufferView" in image:
                view = document["bufferViews"][image["bufferView"]]
                start = view.get("byteOffset", 0)
                out[name] = bytes(binary[start : start + view["byteLength"]])
    return out
