"""The stories: a submission of one system, a fleet of them, retrieval out of S3; and the command line."""
