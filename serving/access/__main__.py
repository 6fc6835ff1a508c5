"""Print the table of roles and routes for docs/guides/access.md: `python -m ultraread.serving.access`."""

from ultraread.serving.access.routes import table_of_routes

if __name__ == "__main__":
    print(table_of_routes())  # noqa: T201  # this is what it is for
