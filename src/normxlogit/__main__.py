"""`python -m normxlogit`, the same as the command `normxlogit`."""

from normxlogit.cli import main

if __name__ == "__main__":
    main()
