"""Commands: `python -m scripts.<name>`. README.md in this folder explains each."""
