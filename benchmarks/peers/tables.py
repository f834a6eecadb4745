"""The report as text."""

from __future__ import annotations

from typing import Any

MEASURES = {
    "cold start to a crop, s": ("cold_start_crop_s", "{:.2f}"),
    "cold start to a photo, s": ("cold_start_photo_s", "{:.2f}"),
    "one crop, ms": ("one_crop_ms", "{:.2f}"),
    "crops/s in a batch": ("crops_per_s", "{:,.0f}"),
    "one photo, ms": ("photo_ms", "{:.0f}"),
    "peak memory, crops, MB": ("peak_mb_crops", "{:,.0f}"),
    "peak memory, crops and photos, MB": ("peak_mb_photos", "{:,.0f}"),
    "installed, MB": ("installed_mb", "{:,.0f}"),
}


def tables(report: dict[str, Any]) -> str:
    """Return everything that was measured as Markdown."""
    machine = report["machine"]
    ran = [tool for tool in report["tools"] if tool["crops_per_s"] or tool["photo_ms"]]
    lines = [
        f"{machine['date']}, {machine['processor']}, {machine['cores']} cores, {machine['system']}, "
        f"Python {machine['python']}; load {machine['load_before']:.1f} before, "
        f"{machine['load_after']:.1f} after; {machine['minutes']:.1f} minutes. "
        f"{report['crops']}.",
        "",
        *_speed(ran),
        "",
        *_accuracy(ran),
        *_photos(ran),
        "",
        *_not_run(report["tools"], ran),
        *(_own(report["own"]) if report["own"] else []),
    ]
    return "\n".join(lines)


def _speed(tools: list[dict[str, Any]]) -> list[str]:
    names = [f"{tool['name']} {tool.get('version', '')}".strip() for tool in tools]
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---|" * len(tools)]
    for title, (key, form) in MEASURES.items():
        reference = tools[0][key] if tools else None
        cells = []
        for tool in tools:
            value = tool[key]
            if value is None:
                cells.append("-")
            elif tool is tools[0] or not reference:
                cells.append(form.format(value))
            else:
                cells.append(f"{form.format(value)} ({_ratio(value / reference)})")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return lines


def _accuracy(tools: list[dict[str, Any]]) -> list[str]:
    scored = [tool for tool in tools if "accuracy" in tool]
    if not scored:
        return []
    lines = [
        f"| PrivateTest, % | official | de-duplicated | less {tools[0]['name']}, points (95 % interval) |",
        "|---|---|---|---|",
    ]
    for tool in scored:
        value, low, high = tool["accuracy_difference"]
        difference = "" if tool is tools[0] else f"{100 * value:+.2f}"
        if difference and low is not None:
            difference += f" ({100 * low:+.2f} to {100 * high:+.2f})"
        lines.append(
            f"| {tool['name']} | {100 * tool['accuracy']:.2f} | {100 * tool['accuracy_deduplicated']:.2f} "
            f"| {difference} |"
        )
    return [*lines, ""]


def _photos(tools: list[dict[str, Any]]) -> list[str]:
    shown = [tool for tool in tools if tool["photos"]]
    if not shown:
        return []
    names = list(shown[0]["photos"])
    lines = ["| faces found | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for tool in shown:
        cells = [", ".join(str(face["emotion"]) for face in tool["photos"][name]) or "none" for name in names]
        lines.append(f"| {tool['name']} | " + " | ".join(cells) + " |")
    return lines


def _not_run(tools: list[dict[str, Any]], ran: list[dict[str, Any]]) -> list[str]:
    lines = []
    for tool in tools:
        name = f"* {tool['name']} {tool.get('version', '')}"
        problems = tool["problems"]
        if tool in ran:
            lines += [f"{name} gave no {what}: {_short(reason)}" for what, reason in problems.items()]
        elif problems:
            lines.append(f"{name} could not be run: {_short(next(iter(problems.values())))}")
    return [*lines, ""] if lines else []


def _ratio(value: float) -> str:
    return f"x{value:,.0f}" if value >= 10 else f"x{value:.2g}"


def _short(reason: str, length: int = 250) -> str:
    """Return the first line of what a tool said, cut if it is long."""
    line = reason.strip().splitlines()[0]
    return line if len(line) <= length else line[:length] + " ..."


def _own(own: dict[str, Any]) -> list[str]:
    lines = ["| facelex, a fresh process | s |", "|---|---|"]
    lines += [f"| `{name}` | {seconds:.2f} |" for name, seconds in own["seconds"].items()]
    lines += [
        "",
        "| folder | images | images/s | faces | failed | peak memory, MB |",
        "|---|---|---|---|---|---|",
    ]
    for row in own["folders"]:
        lines.append(
            f"| {row['kind']} | {row['images']:,} | {row['images_per_s']:,.0f} | {row['faces']:,} "
            f"| {row['failed']} | {row['peak_mb']:.0f} |"
        )
    return lines
