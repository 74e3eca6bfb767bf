"""Entry point of ``python -m raygen``."""

from raygen.cli import main

if __name__ == "__main__":
    main()
