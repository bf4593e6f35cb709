"""All that touches torch and diffusers: what can paint, how it is loaded, and how it paints.

`catalog`, `errors` and `painting` (the request and its result) import no torch, so that the server's process can use
them; `diffusion.Painter` paints and lives in the worker's process. Nothing in here knows a job, a message or a client.
"""
