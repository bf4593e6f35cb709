"""One module for each kind of job: from a job and its arrays to calls of the engine, and back."""
