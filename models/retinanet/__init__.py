"""Object detection on OpenImages by RetinaNet."""
