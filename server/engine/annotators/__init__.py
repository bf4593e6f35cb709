"""What reads control maps from pictures: a module for each kind of detector; see `server.engine.annotating`."""
