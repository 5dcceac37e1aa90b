"""Scripts that trained the networks of the mini editions."""
