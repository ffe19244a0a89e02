"""A model by path, by name, or as the Hugging Face hub knows it: `org/name`, whose files are fetched once and kept.

Downloading, resuming and caching are huggingface_hub's, and so are its settings: HF_HOME, HF_TOKEN, HF_ENDPOINT and
HF_HUB_OFFLINE mean here what they mean there.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.core.configs import names, resolve
from bench.core.errors import EngineError, InputError

_ON_THE_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_DESCRIBES = ("*.json", "*.jinja")
_WEIGHTS = "*.safetensors"
_BELOW = "*/*"
"""Folders within a repository hold the same weights in other formats."""
_TELL_EVERY_S = 5.0


def model_folder(model: str, *, weights: bool = True, tell: Callable[[str], None] = lambda _: None) -> Path:
    """The folder `model` means: an existing path, a name under `configs/models`, or a repository of the hub.

    A repository's files are fetched into the hub's cache, without its weights if those are not wanted; `tell` hears how
    far it is. Raises InputError for one that is not there or not open to the user, and EngineError when the hub cannot
    be reached and the cache lacks it.
    """
    named_otherwise = Path(model).expanduser().exists() or model in names("models", suffix="")
    if named_otherwise or not _ON_THE_HUB.fullmatch(model):
        return resolve(model, "models", suffix="")
    return _fetched(model, [*_DESCRIBES, _WEIGHTS] if weights else [*_DESCRIBES], tell)


def _fetched(repository: str, files: list[str], tell: Callable[[str], None]) -> Path:
    # Half a second, and no command but those that name a repository needs it. httpx2 is what it fetches with.
    import httpx2
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        XetDownloadError,
    )

    tell(f"looking for {repository} on the hub")
    try:
        folder = snapshot_download(
            repository, allow_patterns=files, ignore_patterns=_BELOW, tqdm_class=_telling_bar(repository, tell)
        )
    except GatedRepoError:
        raise InputError(
            "its owner admits users one by one", where=repository, allowed="with the HF_TOKEN of one who was admitted"
        ) from None
    except (RepositoryNotFoundError, HFValidationError):
        known = ", ".join(names("models", suffix=""))
        raise InputError(
            f"no such path, and no such model on {constants.ENDPOINT} that is public",
            where=repository,
            allowed=f"a path, a name ({known}), or a model of the hub",
        ) from None
    except LocalEntryNotFoundError as error:
        if constants.HF_HUB_OFFLINE:
            raise InputError("not whole in the cache, and HF_HUB_OFFLINE is set", where=repository) from None
        raise _unreachable(repository, constants.ENDPOINT, error.__cause__ or error) from error
    except (httpx2.HTTPError, XetDownloadError, OSError) as error:
        raise _unreachable(repository, constants.ENDPOINT, error) from error
    return Path(folder)


def _unreachable(repository: str, endpoint: str, error: BaseException) -> EngineError:
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    return EngineError(f"{repository} could not be fetched from {endpoint}: {reason}")


def _telling_bar(repository: str, tell: Callable[[str], None]) -> Any:
    """A progress bar's class that tells the bytes that have come, and draws nothing."""
    from huggingface_hub.utils.tqdm import tqdm

    class TellingBar(tqdm):
        _told_s = time.monotonic()

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            tqdm.__init__(self, *args, **{**kwargs, "disable": False, "leave": False})

        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            del msg, pos
            if self.unit == "B" and self.n and time.monotonic() - TellingBar._told_s >= _TELL_EVERY_S:
                TellingBar._told_s = time.monotonic()
                tell(f"fetching {repository}: {self.n / 1e9:.2f} of {self.total / 1e9:.2f} GB")

    return TellingBar
