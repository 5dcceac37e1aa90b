"""TensorRT: building an engine, and running it on the devices."""
