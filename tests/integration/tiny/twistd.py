"""The twistd script, as the packaging tools would install it."""

from twisted.scripts.twistd import run

if __name__ == "__main__":
    run()
