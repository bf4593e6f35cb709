import importlib.util
import io
import json
import os
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import scene
from PIL import Image

from depth3d.corner import corner_mesh
from depth3d.export import export_mesh
from depth3d.glb import Material, encode_png, read_glb, write_glb
from depth3d.load import load_mesh
from depth3d.mesh import Mesh, vertex_normals

NODE_MODULES = os.environ.get("GLTF_VALIDATOR", str(Path(__file__).parents[2] / "node_modules"))
SUFFIXES = [".glb", ".obj", ".ply", ".stl"]


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    camera = scene.source_camera(48)
    depth, _ = scene.cast(camera)
    plain = corner_mesh(depth.astype(np.float32), camera)
    texture = scene.picture(camera)
    return Mesh(plain.vertices, plain.faces, plain.uvs, vertex_normals(plain), texture=texture)


def triangles(mesh: Mesh) -> np.ndarray:
    return mesh.vertices[mesh.faces]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_the_same_geometry_back(mesh, tmp_path, suffix):
    files = export_mesh(mesh, tmp_path / f"out{suffix}")
    again = load_mesh(files[0])
    assert again.up == "+y"
    assert np.array_equal(triangles(again), triangles(mesh.turned("+y")))
    if suffix != ".stl":
        assert np.allclose(again.uvs[again.faces], mesh.uvs[mesh.faces], atol=1e-7)
        assert np.allclose(again.normals[again.faces], mesh.turned("+y").normals[mesh.faces], atol=1e-6)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_other_libraries_read_the_same_geometry(mesh, tmp_path, suffix):
    trimesh = pytest.importorskip("trimesh", reason="trimesh is not installed")
    files = export_mesh(mesh, tmp_path / f"out{suffix}")
    theirs = trimesh.load(files[0], force="mesh", process=False)
    assert np.allclose(theirs.vertices[theirs.faces], triangles(mesh.turned("+y")), atol=1e-6)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_open3d_reads_the_same_geometry(mesh, tmp_path, suffix):
    open3d = pytest.importorskip("open3d", reason="open3d is not installed")
    files = export_mesh(mesh, tmp_path / f"out{suffix}")
    theirs = open3d.io.read_triangle_mesh(str(files[0]))
    assert len(theirs.triangles) == len(mesh.faces)
    read = np.asarray(theirs.vertices)[np.asarray(theirs.triangles)]
    assert np.allclose(read, triangles(mesh.turned("+y")), atol=1e-6)


def test_the_camera_of_a_glb_stands_at_the_origin_and_looks_down_minus_z(mesh, tmp_path):
    write_glb(mesh, tmp_path / "a.glb")
    again, _ = read_glb(tmp_path / "a.glb")
    assert again.vertices[:, 2].max() < 0
    centre = np.abs(again.uvs - 0.5).sum(1).argmin()
    assert np.abs(again.vertices[centre, :2] / again.vertices[centre, 2]).max() < 1e-6
    top = again.uvs[:, 1] == 0
    assert (again.vertices[top, 1] > 0).all()


def test_pictures_come_back_to_the_last_bit(mesh, tmp_path):
    maps = {"normal": np.full((4, 4, 3), 128, np.uint8), "occlusion": np.full((2, 2, 3), 7, np.uint8)}
    write_glb(mesh, tmp_path / "a.glb", Material(**maps, metallic_roughness=encode_png(maps["normal"])))
    _, pictures = read_glb(tmp_path / "a.glb")
    assert set(pictures) == {"base_colour", "normal", "occlusion", "metallic_roughness"}
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(pictures["base_colour"]))), mesh.texture)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(pictures["occlusion"]))), maps["occlusion"])


@pytest.mark.parametrize(
    "material",
    [
        None,
        Material(unlit=True, double_sided=False),
        Material(
            metallic_roughness=np.zeros((4, 4, 3), np.uint8),
            normal=np.full((4, 4, 3), 128, np.uint8),
            occlusion=np.zeros((4, 4, 3), np.uint8),
        ),
    ],
)
def test_khronos_validator_finds_nothing_wrong(mesh, tmp_path, material):
    if not shutil.which("node") or not (Path(NODE_MODULES) / "gltf-validator").exists():
        pytest.skip("gltf-validator is not installed: npm install gltf-validator, or set GLTF_VALIDATOR")
    coloured = Mesh(mesh.vertices, mesh.faces, mesh.uvs, mesh.normals, (mesh.uvs[:, [0, 1, 0]] * 255).astype(np.uint8))
    for part in (mesh, coloured, Mesh(mesh.vertices, mesh.faces)):
        if part.uvs is None and material is not None and material.normal is not None:
            continue
        write_glb(part, tmp_path / "a.glb", material)
        script = Path(__file__).parent / "validate_glb.mjs"
        found = subprocess.run(
            ["node", script, tmp_path / "a.glb", NODE_MODULES], capture_output=True, text=True, check=True
        )
        issues = json.loads(found.stdout)
        # A normal map without tangents is as it should be: viewers make MikkTSpace's from the UVs.
        wrong = [m for m in issues["messages"] if m["severity"] < 2 and "TANGENT_SPACE" not in m["code"]]
        assert not wrong


@pytest.mark.parametrize("suffix", [".glb", ".ply"])
def test_every_shade_of_a_vertex_colour_comes_back(tmp_path, suffix):
    shades = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    vertices = np.random.default_rng(0).random((256, 3)).astype(np.float32)
    faces = np.arange(255, dtype=np.uint32).reshape(-1, 3)
    export_mesh(Mesh(vertices, faces, colours=shades, up="+y"), tmp_path / f"a{suffix}")
    assert np.array_equal(load_mesh(tmp_path / f"a{suffix}").colours, shades)


def test_glb_vertex_colours_are_linear(tmp_path):
    grey = np.full((3, 3), 188, np.uint8)  # sRGB's half of the light
    write_glb(Mesh(np.eye(3, dtype=np.float32), np.array([[0, 1, 2]], np.uint32), colours=grey), tmp_path / "a.glb")
    stored = np.frombuffer((tmp_path / "a.glb").read_bytes()[-12 - 24 : -12], "<u2").reshape(3, 4)
    assert stored[:, :3] / 65535 == pytest.approx(0.5029, abs=1e-3)
    assert (stored[:, 3] == 65535).all()


def test_obj_names_its_material_and_picture(mesh, tmp_path):
    files = export_mesh(mesh, tmp_path / "a.obj")
    assert [f.name for f in files] == ["a.obj", "a.mtl", "a.png"]
    assert "map_Kd a.png" in files[1].read_text()
    assert np.array_equal(np.asarray(Image.open(files[2])), mesh.texture)


def test_z_up_is_written_where_asked(mesh, tmp_path):
    export_mesh(mesh, tmp_path / "a.ply", up="+z")
    again = load_mesh(tmp_path / "a.ply", up="+z")
    assert np.allclose(again.turned("-y").vertices, mesh.vertices)
    with pytest.raises(ValueError, match="always y up"):
        export_mesh(mesh, tmp_path / "a.glb", up="+z")


def test_unknown_suffixes_and_empty_meshes_are_refused(mesh, tmp_path):
    with pytest.raises(ValueError, match=r"\.fbx"):
        export_mesh(mesh, tmp_path / "a.fbx")
    with pytest.raises(ValueError, match=r"\.fbx"):
        load_mesh(tmp_path / "a.fbx")
    with pytest.raises(ValueError, match="no triangles"):
        export_mesh(Mesh(mesh.vertices, mesh.faces[:0]), tmp_path / "a.glb")
    with pytest.raises(ValueError, match="no uvs"):
        write_glb(Mesh(mesh.vertices, mesh.faces), tmp_path / "a.glb", Material(normal=mesh.texture))
    with pytest.raises(ValueError, match="PNG or JPEG"):
        write_glb(mesh, tmp_path / "a.glb", Material(base_colour=b"GIF89a"))


@pytest.mark.parametrize("suffix", [".glb", ".ply", ".stl"])
def test_a_file_that_is_cut_off_says_so(mesh, tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    export_mesh(mesh, path)
    whole = path.read_bytes()
    for length in (0, 10, 60, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"cut off|not a|too short"):
            load_mesh(path)


def test_a_glb_says_its_true_length(mesh, tmp_path):
    write_glb(mesh, tmp_path / "a.glb")
    data = (tmp_path / "a.glb").read_bytes()
    assert struct.unpack_from("<4sII", data) == (b"glTF", 2, len(data))


def test_obj_with_polygons_and_negative_numbers_is_read(tmp_path):
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf -4 -3 -2 -1\n# end\n")
    assert load_mesh(tmp_path / "a.obj").faces.tolist() == [[0, 1, 2], [0, 2, 3]]
    (tmp_path / "b.obj").write_text("v 0 0 0\nf 1 2 3\n")
    with pytest.raises(ValueError, match=r"b\.obj:2"):
        load_mesh(tmp_path / "b.obj")


def test_usd_is_read_back(mesh, tmp_path):
    if not importlib.util.find_spec("pxr"):
        pytest.skip("usd-core is not installed")
    files = export_mesh(mesh, tmp_path / "a.usdc")
    from pxr import Usd, UsdGeom

    stage = Usd.Stage.Open(str(files[0]))
    assert UsdGeom.GetStageUpAxis(stage) == "Y"
    found = next(UsdGeom.Mesh(p) for p in stage.Traverse() if p.IsA(UsdGeom.Mesh))
    points = np.array(found.GetPointsAttr().Get())
    faces = np.array(found.GetFaceVertexIndicesAttr().Get()).reshape(-1, 3)
    assert np.allclose(points[faces], triangles(mesh.turned("+y")))
