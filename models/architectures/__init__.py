"""Networks built layer by layer, where a published file is not at hand."""
