"""``python -m xeric``: the command line, for launchers that start a module (``torchrun -m xeric train ...``)."""

from xeric.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
