"""`python -m sentinet_dagster` is the command `sentinet`."""

from sentinet_dagster.cli import main

if __name__ == "__main__":
    main()
