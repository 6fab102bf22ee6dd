"""The version of all numbers that sampling, scoring and training compute.

Whatever is kept on disk (cells, priors, broadened bases, rates, trials of a search) carries it,
so that nothing of another version is mixed with what is run anew. A test fails where the numbers
change and it was not raised.
"""

VERSION = 3
