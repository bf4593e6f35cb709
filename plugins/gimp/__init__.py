"""The plug-in for GIMP 3. `canvas` is the only module that touches pixels."""
