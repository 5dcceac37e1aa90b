"""LoadGen: one child process per run, the system under test, batching, and the backends."""
