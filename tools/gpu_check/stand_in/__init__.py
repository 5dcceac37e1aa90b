"""A module that takes the place of TensorRT where there is a GPU without it."""
