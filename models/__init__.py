"""One file per benchmark: sources, preprocessing, network, response bytes, accuracy metric."""
