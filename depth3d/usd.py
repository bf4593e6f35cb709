"""USD files through usd-core, which is optional: .usda, .usdc, and .usdz with its pictures inside."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from .glb import Material, encode_png
from .mesh import Mesh, v_flipped


def write_usd(mesh: Mesh, path: Path, material: Material | None) -> list[Path]:
    """Writes a mesh with a UsdPreviewSurface; metres; y or z up as the mesh is. Returns the files, the stage first.

    Raises ImportError with the package's name where usd-core is not installed.
    """
    try:
        from pxr import Sdf, UsdUtils
    except ImportError:
        raise ImportError("USD files need the package usd-core: pip install usd-core") from None
    if path.suffix.lower() != ".usdz":
        return _write_stage(mesh, path, material or Material())
    with tempfile.TemporaryDirectory() as folder:
        files = _write_stage(mesh, Path(folder) / f"{path.stem}.usdc", material or Material())
        if not UsdUtils.CreateNewUsdzPackage(Sdf.AssetPath(str(files[0])), str(path)):
            raise OSError(f"{path} could not be packed")
    return [path]


def _write_stage(mesh: Mesh, path: Path, material: Material) -> list[Path]:
    from pxr import Sdf, Usd, UsdGeom, UsdShade, Vt

    path.unlink(missing_ok=True)
    stage = Usd.Stage.CreateNew(str(path))
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z if mesh.up == "+z" else UsdGeom.Tokens.y)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    root = UsdGeom.Xform.Define(stage, "/Root")
    stage.SetDefaultPrim(root.GetPrim())
    geometry = UsdGeom.Mesh.Define(stage, "/Root/Mesh")
    geometry.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(mesh.vertices))
    geometry.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(np.full(len(mesh.faces), 3, np.int32)))
    geometry.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(mesh.faces.astype(np.int32).ravel()))
    geometry.CreateExtentAttr([mesh.vertices.min(axis=0).tolist(), mesh.vertices.max(axis=0).tolist()])
    # Without this the viewer would round the mesh off as a subdivision surface.
    geometry.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    geometry.CreateDoubleSidedAttr(material.double_sided)
    if mesh.normals is not None:
        geometry.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(mesh.normals))
        geometry.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    if mesh.colours is not None:
        geometry.CreateDisplayColorPrimvar(UsdGeom.Tokens.vertex).Set(
            Vt.Vec3fArray.FromNumpy((mesh.colours / 255).astype(np.float32))
        )
    written = [path]
    if mesh.uvs is not None:
        UsdGeom.PrimvarsAPI(geometry).CreatePrimvar(
            "st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.vertex
        ).Set(Vt.Vec2fArray.FromNumpy(v_flipped(mesh.uvs)))
        shader, files = _surface(stage, mesh, path, material)
        surface = UsdShade.Material.Define(stage, "/Root/Material")
        surface.CreateSurfaceOutput().ConnectToSource(shader.ConnectableAPI(), "surface")
        UsdShade.MaterialBindingAPI.Apply(geometry.GetPrim()).Bind(surface)
        written += files
    stage.GetRootLayer().Save()
    return written


def _surface(stage: Any, mesh: Mesh, path: Path, material: Material) -> tuple[Any, list[Path]]:
    from pxr import Sdf, UsdShade

    shader = UsdShade.Shader.Define(stage, "/Root/Material/Surface")
    shader.CreateIdAttr("UsdPreviewSurface")
    shader.CreateInput("roughness", Sdf.ValueTypeNames.Float).Set(material.roughness)
    shader.CreateInput("metallic", Sdf.ValueTypeNames.Float).Set(material.metallic)
    reader = UsdShade.Shader.Define(stage, "/Root/Material/Place")
    reader.CreateIdAttr("UsdPrimvarReader_float2")
    reader.CreateInput("varname", Sdf.ValueTypeNames.String).Set("st")
    base = material.base_colour if material.base_colour is not None else mesh.texture
    files = []
    for name, picture, kind, space in (
        ("diffuseColor", base, Sdf.ValueTypeNames.Color3f, "sRGB"),
        ("normal", material.normal, Sdf.ValueTypeNames.Normal3f, "raw"),
    ):
        if picture is None:
            continue
        data = picture if isinstance(picture, bytes) else encode_png(picture)
        file = path.with_name(f"{path.stem}_{name}.{'jpg' if data[:2] == bytes((255, 216)) else 'png'}")
        file.write_bytes(data)
        files.append(file)
        texture = UsdShade.Shader.Define(stage, f"/Root/Material/{name}")
        texture.CreateIdAttr("UsdUVTexture")
        texture.CreateInput("file", Sdf.ValueTypeNames.Asset).Set(Sdf.AssetPath(f"./{file.name}"))
        texture.CreateInput("sourceColorSpace", Sdf.ValueTypeNames.Token).Set(space)
        for side in ("wrapS", "wrapT"):
            texture.CreateInput(side, Sdf.ValueTypeNames.Token).Set("clamp")
        if name == "normal":
            texture.CreateInput("scale", Sdf.ValueTypeNames.Float4).Set((2, 2, 2, 1))
            texture.CreateInput("bias", Sdf.ValueTypeNames.Float4).Set((-1, -1, -1, 0))
        texture.CreateInput("st", Sdf.ValueTypeNames.Float2).ConnectToSource(reader.ConnectableAPI(), "result")
        shader.CreateInput(name, kind).ConnectToSource(texture.ConnectableAPI(), "rgb")
    return shader, files
