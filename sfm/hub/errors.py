"""What went wrong with a Hub, in one line that says what to do. Exit code 4 (`HubError`)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from sfm.errors import HubError, InputError, SfmError, disk_fault


class HubUnavailable(HubError):
    """The Hub cannot be reached, is broken, or something else answers: the cache may stand in."""


@contextmanager
def hub_errors(
    repo_id: str,
    *,
    revision: str | None = None,
    action: str = "read",
    place: str | os.PathLike[str] = "",
) -> Iterator[None]:
    """Turn what huggingface_hub and its HTTP client raise inside the block into `HubError`.

    Args:
        repo_id: repository, for the message.
        revision: branch, tag or commit that was asked for, for the message.
        action: "read", "write to" or "list": what was tried.
        place: the cache, for the message.

    Raises:
        HubError: one line; the original is its `__cause__`.
        InputError: the repository name is not a valid one, or the cache cannot be used.
        RunError: the disk is full.
    """
    try:
        yield
    except (SfmError, Warning):
        raise
    except Exception as error:
        raise translate(error, repo_id, revision=revision, action=action, place=place) from error


def translate(  # noqa: PLR0911
    error: BaseException,
    repo_id: str,
    *,
    revision: str | None = None,
    action: str = "read",
    place: str | os.PathLike[str] = "",
) -> SfmError:
    """The error of sfm for whatever huggingface_hub, its HTTP client or an answer raised."""
    from huggingface_hub import errors as hf

    if isinstance(error, SfmError):
        return error
    if isinstance(error, hf.HFValidationError):
        return InputError(f"{repo_id!r} is not a repository name: write it as 'owner/name'")
    if isinstance(error, (RuntimeError, ValueError)) and error.__cause__ is not None:
        words = str(error)
        if "upload" in words or "Force download failed" in words:
            return translate(error.__cause__, repo_id, revision=revision, action=action)
    cause = error.__cause__ if isinstance(error, hf.LocalEntryNotFoundError) else None
    if cause is not None and not isinstance(cause, hf.OfflineModeIsEnabled):
        return translate(cause, repo_id, revision=revision, action=action)
    text = _refusal(error, repo_id, revision or "main", action)
    if text is not None:
        return HubError(" ".join(text.split()))
    if not isinstance(error, hf.HfHubHTTPError) and "Consistency check failed" not in str(error):
        fault = disk_fault(error, os.fspath(place) if isinstance(error, OSError) else "")
        if fault is not None and not _is_network(error):
            if place:
                return type(fault)(f"{fault} (the cache: HF_HUB_CACHE or HF_HOME names another)")
            return fault
    return HubUnavailable(" ".join(_failure(error, repo_id, action).split()))


def _refusal(error: BaseException, repo: str, revision: str, action: str) -> str | None:  # noqa: PLR0911
    """The Hub was reached and said no, or was not asked; None for all else."""
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
    if isinstance(error, hf.LocalTokenNotFoundError):
        return f"cannot {action} '{repo}' without a token: set HF_TOKEN or run `hf auth login`"
    words = str(error)
    if isinstance(error, UnicodeEncodeError) or "Illegal header value" in words:
        return f"cannot {action} '{repo}': the token (HF_TOKEN) holds what no token has: check it"
    if isinstance(error, ValueError) and "Invalid metadata in README.md" in words:
        reason = " ".join(words.split("\n- ")[-1].removeprefix("Invalid metadata in").split())
        return f"the Hub refused the card of '{repo}': {reason[:200]}"
    return None


def _status(status: int, words: str, repo: str, action: str) -> str | None:
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
    return None


def not_cached(repo: str, revision: str, *, incomplete: bool = False) -> HubError:
    """The network was not to be used, and the cache does not have it."""
    from huggingface_hub.constants import is_offline_mode

    state = "incomplete in" if incomplete else "not in"
    why = "HF_HUB_OFFLINE is set" if is_offline_mode() else "only local files were allowed"
    return HubError(
        f"'{repo}' at '{revision}' is {state} the cache and {why}: pull it once with a network"
    )


def _is_network(error: BaseException) -> bool:
    """Below HTTP. Names of classes are compared: the HTTP library is the client's own."""
    names = {cls.__name__ for cls in type(error).__mro__}
    return bool(names & {"TransportError", "ConnectionError", "TimeoutException", "Timeout"})


def _failure(error: BaseException, repo: str, action: str) -> str:
    """The Hub failed, cannot be reached, or something else answers in its place."""
    from huggingface_hub import errors as hf

    words = str(error).strip().splitlines()[0][:160] if str(error).strip() else ""
    words = words or type(error).__name__
    if isinstance(error, hf.HfHubHTTPError):
        status, said = error.response.status_code, _server_words(error)
        if status == 429:
            return f"the Hub limits requests (429) for '{repo}': wait some minutes and try again"
        told = f": the Hub says '{said}'" if said else ""
        return f"the Hub at {_endpoint()} failed ({status}) for '{repo}': try again later{told}"
    if "xet" in str(error).lower():
        return (
            f"cannot {action} '{repo}': {_endpoint()} does not speak the Xet storage protocol; "
            "set HF_HUB_DISABLE_XET=1 before starting and try again"
        )
    if "Consistency check failed" in str(error):
        return f"a file of '{repo}' arrived damaged (wrong size): try again"
    if _is_network(error):
        return (
            f"cannot reach the Hub at {_endpoint()} ({words}) to {action} '{repo}': "
            "check the network and HF_ENDPOINT"
        )
    return (
        f"{_endpoint()} does not answer like a Hub for '{repo}' ({type(error).__name__}: {words}): "
        "check HF_ENDPOINT, and whether this network wants a login first"
    )


def _server_words(error: BaseException) -> str:
    words = str(getattr(error, "server_message", None) or "").strip()
    return words.splitlines()[0][:200] if words else ""


def _endpoint() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT
