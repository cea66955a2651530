"""How an error raised by a user's own code is told in one line."""


def describe_error(error: BaseException) -> str:
    """The error's type and the first line of its message.

    >>> describe_error(ValueError("no data\\nand more"))
    'ValueError: no data'
    """
    message = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
