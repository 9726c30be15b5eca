"""The SSH part of tools/bench.py: what is measured, what counts of it, and its bounds."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmark import ssh_measures as measures
from benchmark.ssh_routes import SshRoute, ssh_routes

#: name, what it is, bound: on ratios and differences of one run. Bulk is the design's (section 8); files are held to the same.
BUDGETS = (
    ("ssh_bulk_down_to_stock", "output of a command, time to that of ssh -J through a stock bastion", 2.0),
    ("ssh_bulk_up_to_stock", "input of a command, time to that of ssh -J through a stock bastion", 2.0),
    ("ssh_file_down_to_stock", "scp from the host, time to that of scp -J through a stock bastion", 2.0),
    ("ssh_file_up_to_stock", "scp to the host, time to that of scp -J through a stock bastion", 2.0),
    ("ssh_bulk_processor_ratio", "processor time of output of a command, to that of a stock bastion", 4.0),
    ("ssh_login_to_stock", "ssh target@gateway true, time to that of ssh -J through a stock bastion", 1.0),
    ("ssh_command_added_ms", "added to a command on an open connection", 5.0),
    ("ssh_crowded_p99_added_ms", "added to a keystroke with 200 sessions, p99", 5.0),
    ("ssh_crowd_slower", "processor time of a keystroke with 200 sessions open, to one with ten", 1.5),
    ("ssh_channels_slower", "processor time of a keystroke with 100 channels open, to one with ten", 1.5),
    ("ssh_idle_session_kib", "memory of an idle SSH session", 120.0),
    ("ssh_gigabyte_to_megabyte", "processor time for each byte of the largest output, to one of 1 MB", 1.5),
)


def measure(quick: bool, show: Callable[[str, Any], None]) -> dict[str, Any]:
    """Everything, by name."""
    found: dict[str, Any] = {}
    with ssh_routes() as ways, tempfile.TemporaryDirectory(prefix="hoopd-bench-") as name:
        for part, call in _plan(ways, quick, Path(name)):
            found[part] = call()
            show(part, found[part])
    return found


def _plan(ways: tuple[SshRoute, ...], quick: bool, directory: Path) -> list[tuple[str, Callable[[], Any]]]:
    direct, _, hoopd, _ = ways
    in_process = [direct, hoopd]
    crowds = (1, 10, 20) if quick else (1, 10, 50, 200)
    megabytes, rounds = (32, 2) if quick else (256, 3)
    keys = 1600 if quick else 4000
    sizes = (1, 16, 64) if quick else (1, 16, 64, 1024)
    return [
        ("ssh_keys", lambda: {way.name: measures.keystrokes(way, crowds if way is hoopd else (1,), keys) for way in in_process}),
        ("ssh_channels", lambda: measures.channels(hoopd, (10, 20) if quick else (10, 100), keys)),
        ("ssh_login", lambda: measures.logging_in(ways, 3 if quick else 10)),
        ("ssh_command", lambda: measures.commands(in_process, 20 if quick else 100)),
        ("ssh_bulk_down", lambda: measures.bulk(ways, False, megabytes, rounds, directory)),
        ("ssh_bulk_up", lambda: measures.bulk(ways, True, megabytes, rounds, directory)),
        ("ssh_file_down", lambda: measures.files(ways, False, megabytes // 2, rounds, directory)),
        ("ssh_file_up", lambda: measures.files(ways, True, megabytes // 2, rounds, directory)),
        ("ssh_megabyte", lambda: measures.per_megabyte(hoopd, sizes, directory)),
    ]  # fmt: skip


def ratios(found: dict[str, Any]) -> dict[str, float]:
    """What counts."""
    keys, lines, sizes = found["ssh_keys"]["hoopd"], found["ssh_channels"], found["ssh_megabyte"]
    crowd, most = max(keys, key=int), max(lines, key=int)
    copied = ("ssh_bulk_down", "ssh_bulk_up", "ssh_file_down", "ssh_file_up")

    def seconds(part: str, way: str, other: str, what: str = "median_s") -> float:
        return round(float(found[part][way][what] / found[part][other][what]), 3)

    def added(part: str, percentile: str) -> float:
        return round(float(found[part]["hoopd"][percentile] - found[part]["direct"][percentile]), 3)

    return {
        **{f"{part}_to_stock": seconds(part, "hoopd", "stock") for part in copied},
        **{f"{part}_jump_to_stock": seconds(part, "jump", "stock") for part in copied},
        "ssh_bulk_processor_ratio": seconds("ssh_bulk_down", "hoopd", "stock", "processor_ms_mb"),
        "ssh_login_added_ms": added("ssh_login", "p50_ms"),
        "ssh_login_to_stock": round(found["ssh_login"]["hoopd"]["p50_ms"] / found["ssh_login"]["stock"]["p50_ms"], 3),
        "ssh_command_added_ms": added("ssh_command", "p10_ms"),
        "ssh_key_added_ms": round(keys["1"]["p50_ms"] - found["ssh_keys"]["direct"]["1"]["p50_ms"], 3),
        "ssh_crowded_p99_added_ms": round(keys[crowd]["p99_ms"] - found["ssh_keys"]["direct"]["1"]["p99_ms"], 3),
        "ssh_crowd_slower": round(keys[crowd]["processor_us"] / keys["10"]["processor_us"], 3),
        "ssh_channels_slower": round(lines[most]["processor_us"] / lines["10"]["processor_us"], 3),
        "ssh_idle_session_kib": keys[crowd]["idle_kib"],
        "ssh_gigabyte_to_megabyte": round(sizes[max(sizes, key=int)] / sizes["1"], 3),
    }
