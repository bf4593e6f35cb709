"""The extension for Blender 4.2 and later."""

from __future__ import annotations
