"""QCOWManager: VM disks on workers, as overlays of base images that are copied there once."""

from __future__ import annotations

import json
import logging
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from labkit import events, remote, rules
from labkit.errors import CommandError, CommandFailed, DuplicateError, LabkitError, ProgramMissing
from labkit.executor import NO_SUCH_PROGRAM, Executor
from labkit.images.copy import copy_base
from labkit.images.library import ImageLibrary
from labkit.images.problems import error_of
from labkit.images.source import BaseImage, BaseImages
from labkit.images.values import BaseFacts, OverlayFacts, OverlayRequest, WorkerFacts

__all__ = ["BaseFacts", "OverlayFacts", "OverlayRequest", "QCOWManager", "WorkerFacts"]

TIMEOUT = 300.0  # seconds: a worker may have to hash a big base image the first time
logger = logging.getLogger("labkit")

Value = TypeVar("Value")


class QCOWManager:
    """Makes, deletes and lists VM disks in the folder `base_dir` of workers (contract part 1).

    `create_backing_image` and `delete_image` answer with tuples and booleans and do not raise;
    after a False, `last_error` says why. All other methods raise typed errors. A disk is never
    overwritten, several disks are made in one round trip, all or none, and a request whose answer
    was lost can be made again: what it had made is found and adopted. Thread-safe.

    `on_event` is told of copies, disks made and disks deleted (`labkit.events`).
    """

    def __init__(
        self,
        remote_executor: Executor,
        base_dir: str = "~/vm_images",
        *,
        on_event: events.Listener = events.ignore,
        library: ImageLibrary | None = None,
    ) -> None:
        self.remote_executor = remote_executor
        self.base_dir = rules.folder(base_dir)
        self.last_error: LabkitError | None = None
        self._on_event = on_event
        self._sources = BaseImages(remote_executor.manager, library or ImageLibrary())
        self._tokens = _Tokens()

    def __repr__(self) -> str:
        return f"<QCOWManager {self.base_dir} on {self.remote_executor!r}>"

    # the seed's forms

    def create_backing_image(
        self, worker_ip: str, vm_name: str, base_image_path: str, vlan_ids: object
    ) -> tuple[bool, str | None]:
        """``(True, path on the worker)``, or ``(False, None)``; `vlan_ids` is not used."""
        path = self._attempt(
            f"create the disk of {vm_name!r} on {worker_ip!r}",
            lambda: self.create_overlay(worker_ip, vm_name, base_image_path),
        )
        return path is not None, path

    def delete_image(self, worker_ip: str, image_path: str) -> bool:
        """Whether the disk is gone; one that was not there is."""

        def delete() -> bool:
            self.delete_overlays(worker_ip, [image_path])
            return True

        return self._attempt(f"delete {image_path!r} on {worker_ip!r}", delete) is True

    # those that raise

    def create_overlay(
        self,
        worker_ip: str,
        vm_name: str,
        base_image_path: str,
        *,
        disk_gb: float | None = None,
        mark: Mapping[str, Any] | None = None,
    ) -> str:
        """Make one disk; see `create_overlays`."""
        request = OverlayRequest(vm_name, base_image_path, disk_gb, mark or {})
        return self.create_overlays(worker_ip, [request])[0]

    def create_overlays(self, worker_ip: str, requests: Sequence[OverlayRequest]) -> list[str]:
        """Make all of the disks, or none; their paths on the worker, in order.

        A base image that the worker does not have is copied there first.
        """
        host = rules.host(worker_ip)
        bases = _distinct(requests)
        if not requests:
            return []
        sources = {file: self._sources.find(path) for file, path in bases.items()}
        with self._tokens.of(host, [request.file for request in requests]) as tokens:
            question = {
                "bases": {file: source and source.sha256 for file, source in sources.items()},
                "overlays": [
                    {
                        "file": request.file,
                        "base": request.base,
                        "size": request.size,
                        "mark": {"token": tokens[request.file], **request.mark},
                    }
                    for request in requests
                ],
            }
            answer = self._create(host, question, bases, sources)
            for made in answer["overlays"]:  # within: a listener that raises leaves the tokens kept
                path = self._path(made["file"])
                self._on_event(events.OverlayCreated(host, path, made["size"], made["adopted"]))
        return [self._path(request.file) for request in requests]

    def ensure_base(self, worker_ip: str, base_image_path: str) -> None:
        """See to it that the worker has the base image, whole and with the same content."""
        host = rules.host(worker_ip)
        file = rules.image_file(base_image_path)
        source = self._sources.find(base_image_path)
        if source is not None:
            self._copy(host, source)
        else:
            question = {"bases": {file: None}, "overlays": []}
            self._create(host, question, {file: base_image_path}, {file: None})

    def delete_overlays(self, worker_ip: str, paths: Sequence[str]) -> None:
        """Delete disks of `base_dir`; those that are not there are fine.

        A path elsewhere is refused, and then none is deleted.
        """
        host = rules.host(worker_ip)
        checked = [rules.overlay_path(path) for path in paths]
        if not checked:
            return
        answer = self._ask(host, {"verb": "delete", "paths": checked})
        absent = set(answer["absent"])
        for path in checked:
            self._on_event(events.OverlayDeleted(host, path, path in absent))

    def take_back(self, worker_ip: str, paths: Sequence[str]) -> None:
        """Delete those of the disks that failed requests of this manager had made after all.

        For requests that ended with `ConnectionLost` or `CommandTimeout`. A disk that carries the
        token of no such request is somebody else's, and stays.
        """
        host = rules.host(worker_ip)
        files = {rules.overlay_path(path).rpartition("/")[2]: path for path in paths}
        with self._tokens.of(host, list(files)) as tokens:
            made = {
                overlay.file: (overlay.mark or {}).get("token")
                for overlay in self.look(host).overlays
            }
            ours = [path for file, path in files.items() if made.get(file) == tokens[file]]
            self.delete_overlays(host, ours)

    def look(self, worker_ip: str) -> WorkerFacts:
        """What the worker is and what its image folder holds."""
        host = rules.host(worker_ip)
        return WorkerFacts.from_answer(host, self._ask(host, {"verb": "look"}))

    # how

    def _attempt(self, what: str, work: Callable[[], Value]) -> Value | None:
        """The value, or None when labkit's errors prevent it: logged once and kept."""
        try:
            value = work()
        except LabkitError as error:
            self.last_error = error
            logger.warning("cannot %s: %s", what, error)
            return None
        self.last_error = None
        return value

    def _path(self, file: str) -> str:
        return f"{self.base_dir.rstrip('/')}/{file}"

    def _create(
        self,
        host: str,
        question: Mapping[str, Any],
        bases: Mapping[str, str],
        sources: Mapping[str, BaseImage | None],
    ) -> Mapping[str, Any]:
        """The answer once every base image is there; each is copied at most once."""
        copied: set[str] = set()
        while True:
            answer = self._answer(host, {"verb": "create", **question})
            if answer["ok"]:
                return answer
            problem = answer["problem"]
            file = problem.get("file", "")
            if problem["code"] != "base-missing" or file in copied:
                raise error_of(problem, host, self.base_dir)
            source = sources[file]
            if source is None:
                raise self._sources.missing(bases[file], host, self.base_dir)
            self._copy(host, source)
            copied.add(file)

    def _copy(self, host: str, source: BaseImage) -> None:
        copy_base(self.remote_executor, host, self.base_dir, source, self._on_event)

    def _ask(self, host: str, question: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = self._answer(host, question)
        if not answer["ok"]:
            raise error_of(answer["problem"], host, self.base_dir)
        return answer

    def _answer(self, host: str, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the `overlays` program on the worker says."""
        request = json.dumps({**question, "base_dir": self.base_dir}).encode()
        result = self.remote_executor.run(
            host, remote.program("overlays"), stdin=request, timeout=TIMEOUT
        )
        if result.returncode == NO_SUCH_PROGRAM:
            raise ProgramMissing(
                f"cannot work with disks on {host}",
                why="python3 is not installed there",
                fix=f"Install it on {host}: sudo apt install python3",
                program="python3",
            )
        said = result.error_text.strip().splitlines()
        if not result.ok:
            raise CommandFailed(
                f"labkit's program failed on {host}",
                why=f"status {result.returncode}{f', {said[-1][:300]}' if said else ''}",
                fix="python3 there must be 3.8 or newer; look for what it was doing and ask again.",
                result=result,
            )
        try:
            answer = json.loads(result.stdout)
            if isinstance(answer["ok"], bool):
                return dict(answer)
        except (ValueError, TypeError, KeyError):
            pass
        raise CommandError(
            f"labkit's program on {host} gave no answer",
            why=f"its output begins with {result.text[:200]!r}",
            fix="Find out what else writes to the output of commands there.",
            result=result,
        )


def _distinct(requests: Sequence[OverlayRequest]) -> dict[str, str]:
    """The path of each base image by its file name; refuses names that are there twice."""
    files: set[str] = set()
    bases: dict[str, str] = {}
    for request in requests:
        if request.file in files:
            raise DuplicateError(
                f"two disks would be {request.file}",
                why=f"the VM name {request.vm_name} is there twice",
                fix="Give each VM on a worker a name of its own; nothing was done.",
            )
        files.add(request.file)
        if bases.setdefault(request.base, request.base_image_path) != request.base_image_path:
            rule = f"one path for the file name {request.base}, not {bases[request.base]} as well"
            rules.invalid("base_image_path", request.base_image_path, rule)
    return bases


class _Tokens:
    """What each request for a disk is recognized by on the worker, until its outcome is known.

    A disk that carries the token of a request was made by it. A token is kept when the request
    fails for whatever reason, and given to the next request for that disk alone: two at once must
    not both adopt one disk.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[tuple[str, str], str] = {}

    def of(self, host: str, files: Sequence[str]) -> _Taken:
        with self._lock:
            taken = {file: self._open.pop((host, file), secrets.token_hex(16)) for file in files}
        return _Taken(self, host, taken)

    def keep(self, host: str, tokens: Mapping[str, str]) -> None:
        with self._lock:
            self._open.update({(host, file): token for file, token in tokens.items()})


class _Taken:
    """The tokens of one batch, for as long as it is under way."""

    def __init__(self, tokens: _Tokens, host: str, taken: Mapping[str, str]) -> None:
        self._tokens, self._host, self._taken = tokens, host, taken

    def __enter__(self) -> Mapping[str, str]:
        return self._taken

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._tokens.keep(self._host, self._taken)
