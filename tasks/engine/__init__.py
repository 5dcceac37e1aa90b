"""How steps are described, done and planned."""
