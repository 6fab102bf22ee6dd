import sys

if sys.argv[:1] == ["-m"]:  # `python -m experiments.NAME`, before its imports, which take seconds
    from experiments.common import border

    border.install()
