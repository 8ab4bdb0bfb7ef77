"""`python -m compmod` is the `compmod` command."""

from .cli import main

if __name__ == "__main__":
    main()
