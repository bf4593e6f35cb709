"""Geometry: cameras, depth maps, normals, poses and the meshes made from them. No torch, no server."""
