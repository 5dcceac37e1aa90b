"""Content hashes, downloads, the cache of finished steps, and the S3 store."""
