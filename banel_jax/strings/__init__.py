"""Priors of strings: read from a file, pretrained on, kept in a folder, and reported on."""
