"""``python -m craft.cli``."""

from craft.cli.app import main

if __name__ == "__main__":
    main()
