from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
import torch

from depth3d.camera import Camera
from server.starter import shapes
from server.starter.batch import NONE, Batch
from server.starter.rendering import GROUND_REACH, render
from server.starter.scene_captions import SHAPE_WORDS
from server.starter.scenes import SUBJECT, Look, Plan, SceneFacts, assemble, place, scenes
from server.starter.words import COLORS, MATERIALS, SHAPES

SIZE = 64


@pytest.fixture(scope="module")
def batch() -> Batch:
    return scenes(40, SIZE, torch.Generator().manual_seed(3), "cpu")


def one_solid(
    shape: str, seed: int = 0, eye: tuple[float, float, float] = (1.1, 1.6, 3.4)
) -> tuple[Plan, shapes.Solid]:
    body = shapes.solid(shape, Random(seed))
    plan = Plan(SceneFacts(shape, None, "red"), ground=False)
    plan.looks = [Look((0.5, 0.5, 0.5)), Look((0.8, 0.1, 0.1))]
    place(plan, body, np.eye(3), np.zeros(3), SUBJECT)
    plan.eye, plan.focal = np.array(eye), 1.1
    return plan, body


def camera_of(plan: Plan, size: int) -> Camera:
    camera = Camera(size, size, plan.focal * size, plan.focal * size, size / 2, size / 2)
    return camera.looking_at(plan.eye, plan.target)


def test_the_depth_of_a_sphere_is_its_closed_form() -> None:
    plan, _ = one_solid("sphere")
    depth = render(assemble([plan]), SIZE, None, "cpu").depth[0].numpy()
    rays = camera_of(plan, SIZE).rays()
    # |z ray - c| = 1 with the sphere's centre c on the camera's axis.
    c = np.array([0, 0, np.linalg.norm(plan.eye)])
    a, half = (rays**2).sum(-1), rays @ c
    disc = half**2 - a * (c @ c - 1)
    exact = np.where(disc > 0, (half - np.sqrt(np.maximum(disc, 0))) / a, np.inf)
    clear = np.abs(disc) > 1e-3
    assert (np.isfinite(depth) == np.isfinite(exact))[clear].all()
    both = np.isfinite(depth) & np.isfinite(exact) & clear
    assert both.sum() > 300
    np.testing.assert_allclose(depth[both], exact[both], atol=2e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_normals_are_those_of_the_depth(shape: str) -> None:
    eye = (0.0, 4.0, 9.0) if shape == "terrain" else (1.1, 1.6, 3.4)
    plan, _ = one_solid(shape, eye=eye)
    picture = render(assemble([plan]), 160, None, "cpu")
    depth, normals = picture.depth[0].numpy(), picture.normals[0].permute(1, 2, 0).numpy()
    assert 400 < np.isfinite(depth).sum() < depth.size
    with np.errstate(invalid="ignore"):
        points = camera_of(plan, 160).rays() * depth[..., None]
        right, down = np.roll(points, -1, 1) - np.roll(points, 1, 1), np.roll(points, -1, 0) - np.roll(points, 1, 0)
        across = np.cross(down, right) * (1, -1, -1)
        cosine = (across * normals).sum(-1) / np.linalg.norm(across, axis=-1)
    # At creases and outlines, differences of depth see two surfaces.
    smooth = np.isfinite(depth)
    for axis in (0, 1):
        for step in (-1, 1):
            for aside in (-1, 0, 1):
                neighbour = np.roll(np.roll(normals, step, axis), aside, 1 - axis)
                smooth &= (neighbour * normals).sum(-1) > 0.97
    assert smooth.sum() > 0.5 * np.isfinite(depth).sum()
    assert np.median(cosine[smooth]) > 0.9995
    assert np.mean(cosine[smooth] > 0.98) > 0.97


def test_normals_are_unit_vectors_toward_the_viewer_and_zero_in_the_sky(batch: Batch) -> None:
    assert batch.depth is not None
    assert batch.normals is not None
    there = torch.isfinite(batch.depth)
    length = batch.normals.norm(dim=1)
    torch.testing.assert_close(length[there], torch.ones_like(length[there]), atol=1e-4, rtol=0)
    assert (length[~there] == 0).all()
    assert batch.depth[there].min() > 0
    assert batch.depth[there].max() <= GROUND_REACH


def test_what_is_seen_faces_the_camera() -> None:
    for shape in SHAPES:
        plan, _ = one_solid(shape, eye=(0.0, 4.0, 9.0) if shape == "terrain" else (1.1, 1.6, 3.4))
        picture = render(assemble([plan]), SIZE, None, "cpu")
        rays = torch.from_numpy(camera_of(plan, SIZE).rays(np.float32))
        toward = -(picture.normals[0].permute(1, 2, 0) * rays * torch.tensor([1.0, -1.0, -1.0])).sum(-1)
        there = torch.isfinite(picture.depth[0])
        assert (toward[there] > -0.03).float().mean() > 0.995, shape


def test_the_camera_is_the_one_of_depth3d() -> None:
    plan, _ = one_solid("cube")
    plan.target = np.array([0.3, -0.2, 0.1])
    stage = assemble([plan])
    np.testing.assert_allclose(stage.view[0].numpy(), camera_of(plan, SIZE).world_to_camera[:3, :3], atol=1e-6)


def test_the_silhouette_is_where_the_main_solid_is_nearest() -> None:
    plan, _ = one_solid("cube")
    alone = render(assemble([plan]), SIZE, None, "cpu")
    place(plan, shapes.solid("sphere", Random(1)), np.eye(3), np.array([0.9, 0.0, 1.2]), 2)
    plan.looks.append(Look((0.1, 0.1, 0.8)))
    together = render(assemble([plan]), SIZE, None, "cpu")
    subject = together.surface[0] == SUBJECT
    hidden = (alone.surface[0] == SUBJECT) & ~subject
    assert hidden.sum() > 20
    assert (together.depth[0][hidden] < alone.depth[0][hidden]).all()
    assert torch.equal(together.depth[0][subject], alone.depth[0][subject])


def test_every_main_solid_is_in_its_picture(batch: Batch) -> None:
    assert batch.subject is not None
    seen = batch.subject.flatten(1).float().mean(1)
    assert (seen > 0.015).all(), seen
    assert (seen < 0.9).all(), seen


def test_solids_but_for_terrains_do_not_touch_the_picture_edge(batch: Batch) -> None:
    assert batch.subject is not None
    solids = batch.subject[batch.shape != SHAPES.index("terrain")]
    rim = solids.clone()
    rim[:, 1:-1, 1:-1] = False
    assert rim.flatten(1).any(1).float().mean() < 0.05


def test_the_same_seed_makes_the_same_scenes_and_another_does_not() -> None:
    first, again, other = (scenes(4, 32, torch.Generator().manual_seed(s), "cpu") for s in (5, 5, 6))
    assert torch.equal(first.image, again.image)
    assert first.captions == again.captions
    assert torch.equal(first.depth, again.depth)  # type: ignore[arg-type]
    assert first.captions != other.captions


def test_a_typical_shape_has_one_silhouette_in_the_middle_whatever_it_is_made_of() -> None:
    batch = scenes(100, 32, torch.Generator().manual_seed(6), "cpu", typical=True)
    assert batch.subject is not None
    for number, shape in enumerate(SHAPES):
        here = batch.shape == number
        assert here.sum() > 1, shape
        silhouettes = batch.subject[here]
        assert (silhouettes == silhouettes[0]).all(), shape
        rows, columns = silhouettes[0].float().nonzero(as_tuple=True)
        assert abs(float(columns.float().mean()) - 15.5) < 2.5, shape
        if shape != "terrain":
            assert 12 < columns.max() - columns.min() + rows.max() - rows.min() < 60, shape
    colors = {c for c, s in zip(batch.color.tolist(), batch.shape.tolist(), strict=True) if s == 0}
    assert len(colors) > 1
    assert len(set(batch.captions)) > 95


def test_a_generator_goes_on_after_a_batch() -> None:
    generator = torch.Generator().manual_seed(5)
    assert scenes(2, 16, generator, "cpu").captions != scenes(2, 16, generator, "cpu").captions


def test_captions_name_what_the_labels_name() -> None:
    batch = scenes(120, 8, torch.Generator().manual_seed(9), "cpu")
    materials, colors = list(MATERIALS), list(COLORS)
    for i, caption in enumerate(batch.captions):
        shape = SHAPES[int(batch.shape[i])]
        assert any(word in caption for word in SHAPE_WORDS[shape]), caption
        for label, words in ((batch.material, materials), (batch.color, colors)):
            if label[i] != NONE:
                assert words[int(label[i])] in caption, caption
    assert len(set(batch.captions)) > 110
    for label, count in ((batch.shape, len(SHAPES)), (batch.color, len(COLORS)), (batch.material, len(MATERIALS))):
        assert len(set(label.tolist()) - {NONE}) > 0.8 * count


def test_a_red_solid_is_red_and_lit_from_the_side_of_its_sun() -> None:
    plan, _ = one_solid("sphere")
    plan.sun = np.array([1.0, 0.0, 0.0])
    picture = render(assemble([plan]), SIZE, None, "cpu")
    subject = picture.surface[0] == SUBJECT
    red, green, blue = picture.image[0][:, subject].mean(1)
    assert red > 2 * max(green, blue)
    toward_sun = picture.normals[0, 0] * math.copysign(1, camera_of(plan, 8).world_to_camera[0, 0])
    bright = picture.image[0, 0][subject & (toward_sun > 0.6)].mean()
    dark = picture.image[0, 0][subject & (toward_sun < -0.6)].mean()
    assert bright > dark + 0.1


def test_a_solid_throws_its_shadow_away_from_the_sun() -> None:
    plan, body = one_solid("sphere")
    plan.placed.clear()
    place(plan, body, np.eye(3), np.array([0.0, 1.0, 0.0]), SUBJECT)
    plan.ground, plan.looks[0] = True, Look((0.6, 0.6, 0.6))
    plan.eye, plan.target = np.array([0.0, 9.0, 0.5]), np.zeros(3)
    plan.sun = np.array([math.sqrt(0.5), math.sqrt(0.5), 0.0])
    picture = render(assemble([plan]), SIZE, None, "cpu")
    camera = camera_of(plan, SIZE)
    (shade, sunny), _ = camera.project(np.array([[-2.0, 0.0, 0.0], [2.0, 0.0, 0.0]]))
    at = [picture.image[0, 0, int(y), int(x)] for x, y in (shade, sunny)]
    assert at[0] < at[1] - 0.1


def test_a_shared_bound_never_cuts_a_body() -> None:
    """A bounding sphere that is too small would cut a solid: a twice as big one must give the same picture."""
    for shape in SHAPES:
        if shape == "terrain":
            continue  # it ends where its bound ends
        plan, _ = one_solid(shape, seed=4)
        tight = render(assemble([plan]), SIZE, None, "cpu").surface
        for part in plan.placed:
            part.bound *= 2
        wide = render(assemble([plan]), SIZE, None, "cpu").surface
        assert (tight != wide).float().mean() < 2e-3, shape
