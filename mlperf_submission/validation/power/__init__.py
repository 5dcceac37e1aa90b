"""Results with power: this pipeline measures none, but the validation reads those of others."""
