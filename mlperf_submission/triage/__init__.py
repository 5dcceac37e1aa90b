"""What went wrong: its cause, the remedy, and the steps that have to be done again."""
