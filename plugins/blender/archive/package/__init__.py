"""Brushwire for Blender: exact control maps, textures on meshes, and camera rigs."""

from plugins.blender.command import main, run
from plugins.blender.extension import register, unregister

__all__ = ["main", "register", "run", "unregister"]
