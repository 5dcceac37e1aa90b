"""Folders of JPEG files, and the arrays that they become."""
