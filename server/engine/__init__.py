"""All that touches torch and diffusers. It never knows a job, a message or a client."""
