"""The painter: one local server over the wire of `bridge_protocol`, painting with diffusers."""
