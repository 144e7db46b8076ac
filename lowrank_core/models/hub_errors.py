"""What the Hub's client raises, as this project's errors; nothing of a request, and so no token, is repeated."""

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import LowRankError, ModelGated, ModelNotFetched, ModelNotFound
from .where import HubId

AGAIN = "Try again; files that arrived whole are kept."


@contextmanager
def said_clearly(hub: HubId) -> Iterator[None]:
    """Whatever is raised inside about a model on the Hub becomes one of our errors."""
    try:
        yield
    except LowRankError:
        raise
    except Exception as error:  # of the client, and of the HTTP library below it, which changes with its versions
        raise explained(hub, error) from None


def explained(hub: HubId, error: BaseException) -> LowRankError:
    """The error that says what the client met; the narrower cases first, as it calls what is gated also not found."""
    from huggingface_hub import errors

    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and len(chain) < 8:
        chain.append(cause)
    statuses = {e.response.status_code for e in chain if getattr(e, "response", None) is not None}
    name = str(hub)

    def met(kind: type) -> bool:
        return any(isinstance(e, kind) for e in chain)

    if met(errors.GatedRepoError):
        return ModelGated(
            f"{name!r} is gated: it opens to those who accepted its terms.",
            f"Accept them at https://huggingface.co/{hub.id}, then give your token: HF_TOKEN or --token.",
        )
    if met(errors.RevisionNotFoundError):
        return ModelNotFound(f"{name!r} has no such revision.", "Give a branch, a tag or a commit after the @.")
    strange = 401 in statuses and any("Invalid credentials" in str(e) for e in chain)
    if met(errors.RepositoryNotFoundError) or (401 in statuses and not strange):  # what is private is not there
        return ModelNotFound(
            f"There is no model {name!r} on the Hub, or it is private.",
            "Check the spelling; a private one needs your token: HF_TOKEN or --token.",
        )
    if strange or 403 in statuses:
        return ModelGated(f"The Hub does not open {name!r} to this token.", "Check HF_TOKEN or --token.")
    if 404 in statuses:
        return ModelNotFound(f"A file of {name!r} is not on the Hub.", "Try again, or take another revision.")
    if 429 in statuses:
        return ModelNotFetched(
            f"The Hub had too many requests from here to serve {name!r}.", "Wait a few minutes, or give a token."
        )
    if any(status >= 500 for status in statuses):
        return ModelNotFetched(f"The Hub failed to serve {name!r} (status {max(statuses)}).", "Try again later.")
    if any("Consistency check" in str(e) for e in chain):  # the client's words for fewer bytes than were announced
        return ModelNotFetched(f"The download of {name!r} was cut short.", AGAIN)
    if any(isinstance(e, OSError) and e.errno == 28 for e in chain):
        return ModelNotFetched(f"The disk is full: {name!r} cannot be written.", "Make room, then try again.")
    what = type(chain[-1]).__name__
    return ModelNotFetched(f"The Hub cannot be reached for {name!r} ({what}).", "Check the network, then try again.")
