"""A check of this project on an accelerator; see `__main__`."""
