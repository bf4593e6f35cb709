"""Runs inside Blender, with the extension installed: the scene that the tests of its jobs begin with."""

from __future__ import annotations

import bpy


def fresh() -> bpy.types.Scene:
    """An empty scene, with the extension, that renders 160×128 pixels."""
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    bpy.ops.preferences.addon_enable(module="bl_ext.user_default.brushwire")
    scene = bpy.context.scene
    scene.render.resolution_x, scene.render.resolution_y = 160, 128
    return scene


def scene_with_cube(*, plane: bool = True) -> tuple[bpy.types.Scene, bpy.types.Object]:
    """A cube with a material of its own on a plane, before a camera; small sizes and few steps in the forms."""
    scene = fresh()
    if plane:
        bpy.ops.mesh.primitive_plane_add(size=8)
    bpy.ops.mesh.primitive_cube_add(location=(0, 0, 1))
    cube = bpy.context.object
    cube.data.materials.append(bpy.data.materials.new("Own"))
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    scene.collection.objects.link(camera)
    camera.location, camera.rotation_euler = (3, -5, 3.5), (1.1, 0, 0.54)
    scene.camera = camera
    bpy.context.view_layer.update()
    own = scene.brushwire
    own.rig_size, own.rig_count = (96, 96), 4
    own.views.follow_depth = 0.0
    own.views.width = own.views.height = 128
    own.views.steps = own.generate.steps = 2
    return scene, cube
