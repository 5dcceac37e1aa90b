"""What every room may use: errors, files that appear whole, child processes that end with us."""
