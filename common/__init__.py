"""What every room may use: errors, files that appear whole or not at all, child processes that end with us."""
