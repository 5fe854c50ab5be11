"""How the runs were made: what differs between their configurations, versions, hardware, seeds and cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from overopt.analysis.report.collect import Collection, ReportedRun
from overopt.analysis.report.settings import differing_and_shared


def provenance(collection: Collection) -> dict[str, Any]:
    """The configurations of each stage, divided into what differs and what is shared, and the origin of each run."""
    stages = dict.fromkeys(record.run.stage or "?" for record in collection.records)
    configs = []
    for stage in stages:
        members = [record for record in collection.records if record.run.stage == stage]
        differing, shared = differing_and_shared([_without_provenance(record.run.config) for record in members])
        configs.append(
            {
                "stage": stage,
                "runs": [record.name for record in members],
                "differing": [[address, *values] for address, values in differing],
                "shared": [list(pair) for pair in shared],
            }
        )
    return {"configs": configs, "runs": [_origin(record) for record in collection.records]}


def cost(record: ReportedRun) -> dict[str, float]:
    """Seconds from the start to the last recorded step, and tokens over all steps, where they were recorded."""
    timings = record.run.timings()
    present = {name: [float(v) for v in timings.get(name, ()) if v is not None] for name in ("elapsed", "tokens")}
    found = {"seconds": max(present["elapsed"])} if present["elapsed"] else {}
    return found | ({"tokens": sum(present["tokens"])} if present["tokens"] else {})


def _origin(record: ReportedRun) -> dict[str, Any]:
    info, spent = record.run.info, cost(record)
    return {
        "run": record.name,
        "path": str(record.run.path),
        "stage": record.run.stage or "?",
        "status": record.run.status,
        "seed": record.seed,
        "steps": record.last_step,
        "minutes": spent["seconds"] / 60 if "seconds" in spent else None,
        "tokens": spent.get("tokens"),
        "hardware": _hardware(info.get("hardware") or {}),
        "device": str(info.get("device", "")),
        "threads": info.get("threads"),
        "versions": ", ".join(f"{name} {version}" for name, version in (info.get("versions") or {}).items()),
        "commit": str(info.get("commit", ""))[:12] + ("+changes" if info.get("diff_hash") else ""),
        "started": str(info.get("started", "")),
        "resumes": len(info.get("resumes", [])),
        "parents": [f"{made['role']}: {made['path']} ({made['hash'][:12]})" for made in info.get("parents", [])],
    }


def _hardware(found: Mapping[str, Any]) -> str:
    cores = f"{found['usable_cpus']} of {found['cpus']} CPUs" if {"usable_cpus", "cpus"} <= found.keys() else ""
    parts = [found.get("processor"), cores, found.get("accelerator"), found.get("system"), found.get("machine")]
    return ", ".join(str(part) for part in parts if part)


def _without_provenance(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without what changes no number."""
    return {name: value for name, value in config.items() if name != "provenance"}
