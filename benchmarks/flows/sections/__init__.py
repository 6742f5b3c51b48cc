"""One module per section, each with a `TITLE` and `run(context) -> list[Row]`."""
