"""What of one session's streams is masked: for its client, and in the record, as policy has it at each moment.

Not the masking (L{hoopd.protocols.ssh.masked}). Policy is asked again for each piece: rules change, and an emergency ends, while a shell
goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen

from hoopd.masking.finders import Finders
from hoopd.policy import unmaskable
from hoopd.values import Admission, Mask, Operation


@frozen(eq=False)
class Views:
    """@ivar client, record: what is taken out of what each gets; the same object where it is the same; None is nothing."""

    client: Finders | None = None
    record: Finders | None = None


NONE = Views()


class Viewing:
    """
    @param worker: L{hoopd.interfaces.IWorker}
    @param now: C{() -> float}, seconds since the epoch.
    """

    def __init__(self, worker: Any, admission: Admission, now: Callable[[], float]) -> None:
        self._worker = worker
        self._admission = admission
        self._now = now
        self._policy: Any = None
        self._record: tuple[Mask, ...] = ()
        self._made: dict[tuple[tuple[Mask, ...], tuple[Mask, ...]], Views] = {}

    def __call__(self, operation: Operation | None = None) -> Views:
        """@param operation: what runs, if the view of its output is asked for: what cannot be masked was permitted as it is"""
        policy, admission = self._worker.policy, self._admission
        if policy is not self._policy:
            self._policy = policy
            self._record = _streams(policy.record_masks(admission.target))
            self._made.clear()
        if not self._record:
            return NONE
        client: tuple[Mask, ...] = ()
        if operation is None or not unmaskable.passes_by(operation):
            now = self._now()
            opening = self._worker.opening(admission.identity, admission.target.name, now)
            client = _streams(policy.masks(admission.identity, admission.target, now, opening))
        key = (client, self._record)
        if key not in self._made:
            record = self._worker.masker.finders(self._record)
            same = client == self._record
            self._made[key] = Views(record if same else self._worker.masker.finders(client) if client else None, record)
        return self._made[key]

    def redacted(self, text: bytes) -> bytes:
        """What people are asked to approve, and what is recorded of what was asked for."""
        if self._policy is not self._worker.policy:
            self()
        return self._worker.masker.scanner(self._record)(text) if self._record else text

    def would(self) -> tuple[str, ...]:
        """Rules of masks that would be in force if the target were not only observed."""
        admission = self._admission
        found = self._worker.policy.observed_masks(admission.identity, admission.target, self._now())
        return tuple(mask.rule for mask in _streams(found))

    def rules(self) -> tuple[str, ...]:
        """Rules of masks in force for this client now."""
        admission, now = self._admission, self._now()
        opening = self._worker.opening(admission.identity, admission.target.name, now)
        found = self._worker.policy.masks(admission.identity, admission.target, now, opening)
        return tuple(mask.rule for mask in _streams(found))


def _streams(masks: tuple[Mask, ...]) -> tuple[Mask, ...]:
    return tuple(mask for mask in masks if mask.detect)
