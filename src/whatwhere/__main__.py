"""`python -m whatwhere` is the command `whatwhere`, for launchers such as torchrun."""

from whatwhere.cli import entry

if __name__ == "__main__":
    entry()
