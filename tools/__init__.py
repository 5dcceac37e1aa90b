"""What is not shipped: checks and records that the project's own engineers make."""
