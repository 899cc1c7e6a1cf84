"""`python -m fanin` is the command `fanin`."""

from fanin.cli.main import command

if __name__ == "__main__":
    command()
