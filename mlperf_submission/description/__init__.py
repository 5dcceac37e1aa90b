"""What a machine tells of itself, for the system description."""
