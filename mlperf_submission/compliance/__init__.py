"""The compliance tests: their configuration, the proof that they ran, their verdict."""
