"""The hosts: thin plugins that know where to put paint. They stand on `bridge_protocol` and `depth3d` alone."""
