"""One command for the day a GPU is there: what was assumed without one, shown or refuted in eight minutes."""
