"""ONNX networks: checks, edits, precision, agreement, state."""
