"""What is not shipped with the program."""
