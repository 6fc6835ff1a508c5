"""The root of every error that a user can meet, and the way from a code to its error."""

from collections.abc import Iterator


class UltraReadError(Exception):
    """Base of every error that a user can meet. `remedy` says what the user can do."""

    code = "internal"
    http_status = 500
    exit_status = 1
    remedy = "Please report this with the command that you ran."

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy or self.remedy

    def problem(self) -> dict[str, str | int]:
        """The body of RFC 9457 that says the same."""
        return {
            "type": f"urn:ultraread:problem:{self.code}",
            "title": (type(self).__doc__ or "").strip().split("\n")[0],
            "status": self.http_status,
            "detail": self.what,
            "code": self.code,
            "remedy": self.remedy,
        }

    def __reduce__(self) -> tuple[type["UltraReadError"], tuple[str, str]]:
        """Travel between processes whole."""
        return type(self), (self.what, self.remedy)


def every_error(root: type[UltraReadError] = UltraReadError) -> Iterator[type[UltraReadError]]:
    """Yield the whole tree, parents first."""
    yield root
    for child in root.__subclasses__():
        yield from every_error(child)


def error_of_code(code: str) -> type[UltraReadError]:
    """Return the error that carries `code`; the base error where none does."""
    return next((error for error in every_error() if error.code == code), UltraReadError)
