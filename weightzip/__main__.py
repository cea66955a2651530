"""`python -m weightzip` is the same program as `weightzip`."""

from weightzip.cli.main import run

if __name__ == "__main__":
    run()
