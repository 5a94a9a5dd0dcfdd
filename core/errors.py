"""All errors of the project, as one tree.

OrchestratorError                 exit  when
├── UsageError                       2  an option, prompt, file or target is wrong
│   ├── SettingsError                   a setting is unknown or has a bad value
│   ├── PlanInvalid                     a plan breaks the rules of core.plan
│   ├── TargetRefused                   the output directory may not be written
│   └── RunNotFound, RunLocked          the run named does not exist, or another process has it
├── PreflightFailed                  3  a backend or provider is not usable here
├── OutputFailed                     3  what a command made could not be written
├── PlanningFailed                   1  the model did not return a valid plan
├── RunInterrupted                 130  Ctrl-C or SIGTERM
├── BackendError                     1  a backend as a whole is broken
│   ├── AwsRefused                      AWS refused one call for good
│   ├── BackendBusy                     it accepts no more for now
│   ├── SubmitError                     one job was not accepted (returned as a value)
│   │   └── InputsDamaged               it needs results that are not as they were left
│   └── CollectError                    one result could not be fetched (returned as a value)
├── BundleError                      1  a bundle or result is damaged or of another version
│   └── WorkerOutdated                  the worker's own code is of another version
├── MergeError                       1  the target could not be written
├── GitFailed                        1  git refused or could not do its part
├── StorageError                     1  the work directory could not be read or written
├── RunRemoved                       1  the run's directory is gone
├── WorkspaceError                   1  a file operation of the model was refused
├── Interrupted                    130  raised inside a worker that was stopped
└── ModelError                       1  a request to Claude failed
    ├── ModelUnavailable                RateLimited, Overloaded, ServerFault, ConnectionLost
    ├── CredentialsRefused           4  401 or 403
    ├── BillingRefused               4  402, or no credit left
    ├── ModelUnknown                 3  404: no such model here
    ├── BudgetExceeded               4  not sent: it could pass what may be spent
    └── RequestRejected                 400, 413: the same request would fail again
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class OrchestratorError(Exception):
    """Base of all errors a person may see. `message` says what failed and on which name or path,
    `remedy` what to do about it."""

    exit_code: ClassVar[int] = 1
    resume_with = ""
    """The options without which a run that it has ended would end in the same way again."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}" if self.remedy else self.message


class UsageError(OrchestratorError):
    exit_code = 2


class SettingsError(UsageError): ...


class PlanInvalid(UsageError):
    """`defects` holds one sentence a broken rule."""

    def __init__(self, message: str, defects: Sequence[str], remedy: str = "") -> None:
        super().__init__("\n".join([message, *(f"  - {d}" for d in defects)]), remedy)
        self.defects = tuple(defects)


class TargetRefused(UsageError): ...


class RunNotFound(UsageError): ...


class RunLocked(UsageError): ...


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that a preflight found missing, and how to fix it."""

    what: str
    fix: str


class PreflightFailed(OrchestratorError):
    exit_code = 3

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(f"{p.what}\n  fix: {p.fix}" for p in problems))
        self.problems = tuple(problems)


def refuse_if(problems: Sequence[Problem]) -> None:
    """Raises PreflightFailed when there are any."""
    if problems:
        raise PreflightFailed(problems)


class OutputFailed(OrchestratorError):
    exit_code = 3

    def __init__(self, what: str, exc: OSError, more: str = "") -> None:
        super().__init__(
            f"{what} could not be written: {exc.strerror or exc}.",
            f"Free space there, or write elsewhere. {more or 'What the command did stands.'}",
        )


class PlanningFailed(OrchestratorError): ...


class RunInterrupted(OrchestratorError):
    exit_code = 130


class BackendError(OrchestratorError): ...


class AwsRefused(BackendError):
    """`code` is AWS's own name for the reason, such as AccessDenied."""

    def __init__(self, message: str, remedy: str = "", *, code: str = "") -> None:
        super().__init__(message, remedy)
        self.code = code


class BackendBusy(BackendError):
    """It works, and accepts nothing more for now; tried again after `retry_after_s`, any number of
    times."""

    def __init__(self, message: str, remedy: str = "", *, retry_after_s: float) -> None:
        super().__init__(message, remedy)
        self.retry_after_s = retry_after_s


class SubmitError(BackendError):
    """One job was not accepted and is not running. `retryable` is False when it never will be."""

    def __init__(self, message: str, remedy: str = "", *, retryable: bool = True) -> None:
        super().__init__(message, remedy)
        self.retryable = retryable


class InputsDamaged(SubmitError):
    """A result that the job needs is not as its task left it; that task has to run again."""


class CollectError(BackendError):
    """One result is absent or damaged. `retryable` is True while it may still arrive."""

    def __init__(self, message: str, remedy: str = "", *, retryable: bool = False) -> None:
        super().__init__(message, remedy)
        self.retryable = retryable


class BundleError(OrchestratorError): ...


class WorkerOutdated(BundleError):
    """The worker's code is of another version than the program that gave it the job."""


class MergeError(OrchestratorError): ...


class GitFailed(OrchestratorError):
    """`code` is the exit code of git, 0 where it did not end by itself."""

    def __init__(self, message: str, remedy: str = "", *, code: int = 0) -> None:
        super().__init__(message, remedy)
        self.code = code


class StorageError(OrchestratorError):
    """Made of the operating system's error, which names the file."""

    def __init__(self, exc: OSError) -> None:
        where = f"{exc.filename}: " if exc.filename else ""
        super().__init__(
            f"The work directory cannot be used: {where}{exc.strerror or exc}.",
            "Free disk space or correct the permissions there, then resume the run, or start it"
            " again if it had not begun.",
        )


class RunRemoved(OrchestratorError):
    """The run's directory was removed, or moved, while a process worked on it."""


class WorkspaceError(OrchestratorError): ...


class Interrupted(OrchestratorError):
    exit_code = 130


class ModelError(OrchestratorError): ...


class ModelUnavailable(ModelError):
    """Transient. `retry_after_s` is what the server asked for, if it did."""

    def __init__(
        self, message: str, remedy: str = "", *, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, remedy)
        self.retry_after_s = retry_after_s


class RateLimited(ModelUnavailable): ...


class Overloaded(ModelUnavailable): ...


class ServerFault(ModelUnavailable): ...


class ConnectionLost(ModelUnavailable): ...


class CredentialsRefused(ModelError):
    exit_code = 4


class BillingRefused(ModelError):
    exit_code = 4


class ModelUnknown(ModelError):
    exit_code = 3


class BudgetExceeded(ModelError):
    exit_code = 4


class RequestRejected(ModelError): ...
