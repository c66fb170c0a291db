"""What went wrong with a Hub, in one line that says what to do. Exit code 4 (`HubError`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sfm.errors import HubError, InputError, SfmError


@contextmanager
def hub_errors(
    repo_id: str, *, revision: str | None = None, action: str = "read"
) -> Iterator[None]:
    """Turn what huggingface_hub and its HTTP client raise inside the block into `HubError`.

    Args:
        repo_id: repository, for the message.
        revision: branch, tag or commit that was asked for, for the message.
        action: "read", "write to" or "list": what was tried.

    Raises:
        HubError: one line; the original is its `__cause__`.
        InputError: the repository name is not a valid one.
    """
    try:
        yield
    except SfmError:
        raise
    except Exception as error:
        translated = translate(error, repo_id, revision=revision, action=action)
        if translated is None:
            raise
        raise translated from error


def translate(
    error: BaseException, repo_id: str, *, revision: str | None = None, action: str = "read"
) -> SfmError | None:
    """The error of sfm for one of huggingface_hub or of its HTTP client; None for any other."""
    from huggingface_hub import errors as hf

    if isinstance(error, hf.HFValidationError):
        return InputError(f"{repo_id!r} is not a repository name: write it as 'owner/name'")
    if isinstance(error, RuntimeError) and error.__cause__ is not None and "upload" in str(error):
        return translate(error.__cause__, repo_id, revision=revision, action=action)
    text = _explain(error, repo_id, revision or "main", action)
    return None if text is None else HubError(" ".join(text.split()))


def _explain(error: BaseException, repo: str, revision: str, action: str) -> str | None:
    from huggingface_hub import errors as hf

    if isinstance(error, hf.GatedRepoError):
        return (
            f"'{repo}' is gated (403): ask for access at {_endpoint()}/{repo}, "
            "then use a token of the account that was accepted (HF_TOKEN or `hf auth login`)"
        )
    if isinstance(error, hf.RevisionNotFoundError):
        return f"'{repo}' has no revision '{revision}' (404): check the branch, tag or commit id"
    if isinstance(error, hf.RemoteEntryNotFoundError):
        return f"'{repo}' at '{revision}' lacks a file (404): {error.response.request.url.path}"
    if isinstance(error, hf.RepositoryNotFoundError):
        return (
            f"no repository '{repo}' at {_endpoint()} that this token may see "
            f"({error.response.status_code}): check the name; a private one needs HF_TOKEN"
        )
    if isinstance(error, hf.HfHubHTTPError):
        return _status(error.response.status_code, _server_words(error), repo, action)
    if isinstance(error, hf.OfflineModeIsEnabled):
        return f"cannot {action} '{repo}': HF_HUB_OFFLINE is set; unset it to use the network"
    if isinstance(error, hf.LocalEntryNotFoundError):
        return _not_cached(error, repo, revision)
    if isinstance(error, hf.LocalTokenNotFoundError):
        return f"cannot {action} '{repo}' without a token: set HF_TOKEN or run `hf auth login`"
    return _network(error, repo, action)


def _status(status: int, words: str, repo: str, action: str) -> str:
    said = f": the Hub says '{words}'" if words else ""
    if status == 401:
        return (
            f"cannot {action} '{repo}': no valid token (401); "
            f"set HF_TOKEN or run `hf auth login`{said}"
        )
    if status == 403:
        return (
            f"this token may not {action} '{repo}' (403); use one with that right, "
            f"or your own namespace{said}"
        )
    if status in (409, 412):
        return (
            f"'{repo}' was changed by someone else meanwhile ({status}): pull and push again{said}"
        )
    if status == 400:
        return f"the Hub refused the content for '{repo}' (400){said}"
    if status == 429:
        return f"the Hub limits requests (429) for '{repo}': wait some minutes and try again"
    return f"the Hub at {_endpoint()} failed ({status}) for '{repo}': try again later{said}"


def _not_cached(error: BaseException, repo: str, revision: str) -> str:
    """The network was not used, or failed, and the cache does not have it."""
    from huggingface_hub import errors as hf
    from huggingface_hub.constants import is_offline_mode

    cause = error.__cause__
    if cause is not None and not isinstance(cause, hf.OfflineModeIsEnabled):
        reason = (
            _explain(cause, repo, revision, "read")
            if isinstance(cause, hf.HfHubHTTPError)
            else _network(cause, repo, "read")
        )
        if reason is not None:
            return reason
    state = "incomplete in" if isinstance(error, hf.IncompleteSnapshotError) else "not in"
    why = "HF_HUB_OFFLINE is set" if is_offline_mode() else "only local files were allowed"
    return f"'{repo}' at '{revision}' is {state} the cache and {why}: pull it once with a network"


def _network(error: BaseException, repo: str, action: str) -> str | None:
    """Failures below HTTP. Names of classes are compared: the HTTP library is the client's own."""
    names = {cls.__name__ for cls in type(error).__mro__}
    words = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
    if "xet" in str(error).lower():
        return (
            f"cannot {action} '{repo}': {_endpoint()} does not speak the Xet storage protocol; "
            "set HF_HUB_DISABLE_XET=1 before starting and try again"
        )
    if isinstance(error, ValueError) and "Invalid metadata in README.md" in str(error):
        reason = " ".join(str(error).split("\n- ")[-1].removeprefix("Invalid metadata in").split())
        return f"the Hub refused the card of '{repo}': {reason[:200]}"
    if "Consistency check failed" in str(error):
        return f"a file of '{repo}' arrived damaged (wrong size): try again"
    if "FileMetadataError" in names:
        return f"{_endpoint()} does not answer like a Hub for '{repo}': check HF_ENDPOINT"
    if names & {"TransportError", "ConnectionError", "TimeoutException", "Timeout"}:
        cached = f" and '{repo}' is not in the cache" if action == "read" else ""
        where = f"the Hub at {_endpoint()} ({words}){cached}"
        return f"cannot reach {where}: check the network and HF_ENDPOINT"
    return None


def _server_words(error: BaseException) -> str:
    words = str(getattr(error, "server_message", None) or "").strip()
    return words.splitlines()[0][:200] if words else ""


def _endpoint() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT
