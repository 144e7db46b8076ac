"""Options that take several values after one flag."""

from collections.abc import Collection, Sequence

from typer.core import TyperCommand


class Variadic(TyperCommand):
    """A command whose repeatable options may also be written once: `--text A B` is `--text A --text B`."""

    def parse_args(self, ctx, args: list[str]) -> list[str]:
        repeatable = {flag for p in self.params if getattr(p, "multiple", False) for flag in p.opts}
        return super().parse_args(ctx, spread(args, repeatable))


def spread(arguments: Sequence[str], repeatable: Collection[str]) -> list[str]:
    """The arguments with each further value of a repeatable flag behind a flag of its own."""
    found: list[str] = []
    flag, filled = "", False
    for argument in arguments:
        if argument.startswith("-") and not _is_number(argument):
            name, equals, _ = argument.partition("=")
            flag, filled = name if name in repeatable else "", bool(equals)
            found.append(argument)
        else:
            found += [flag, argument] if flag and filled else [argument]
            filled = True
    return found


def _is_number(argument: str) -> bool:
    try:
        float(argument)
    except ValueError:
        return False
    return True
