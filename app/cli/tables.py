"""Answers of the service as tables for a person."""

from typing import Any

from rich.markup import escape
from rich.table import Table

from app.cli.client import Answer, out

GOOD = frozenset({"accept", "match"})
"""Decisions that a script reads as success."""

COLOURS = {"accept": "green", "match": "green", "reject": "red", "unknown": "red", "ambiguous": "yellow"}


def coloured(decision: str) -> str:
    """A decision in its colour."""
    return f"[{COLOURS.get(decision, 'white')}]{decision}[/]"


def number(value: float | None, digits: int = 3) -> str:
    """A number with fixed decimals; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def facts(rows: list[tuple[str, str]]) -> Table:
    """Names and values, without a frame."""
    table = Table.grid(padding=(0, 2))
    for name, value in rows:
        table.add_row(f"[dim]{name}[/]", value)
    return table


def columns(*names: str) -> Table:
    """A table with these headings; numbers stand right of a heading that starts with `>`."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for name in names:
        table.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left")
    return table


def show_enrolled(answer: Answer) -> None:
    """What an enrollment did, recording by recording."""
    table = columns("enrollment", ">speech s", ">quality", "remarks")
    for take in answer["enrollments"]:
        audio = take.get("audio") or {}
        remarks = [*take.get("warnings", []), *(["duplicate"] if take.get("duplicate") else [])]
        if take.get("code"):
            remarks.append(take["code"])
        table.add_row(
            take.get("enrollment_id") or "refused",
            number(audio.get("speech_s"), 2),
            number(audio.get("quality"), 2),
            ", ".join(remarks),
        )
    out.print(table)
    out.print(
        f"[bold]{answer['speaker_id']}[/] {answer['status']}: {number(answer['speech_s'], 2)} s of speech, "
        f"{number(answer['required_speech_s'], 2)} s required"
    )


def show_verified(answer: Answer) -> None:
    """The answer of a verification, of a speaker or of two recordings."""
    out.print(
        facts(
            [
                ("decision", coloured(answer["decision"])),
                ("speaker", answer["speaker_id"] or "–"),
                ("score", number(answer["score"])),
                ("threshold", number(answer["threshold"])),
                ("similarity", number(answer["similarity"])),
                ("distance", number(answer["distance"])),
                ("operating point", operating_point(answer)),
                *explanation(answer),
            ]
        )
    )


def show_identified(answer: Answer) -> None:
    """The candidates of an identification and what was decided."""
    table = columns(">rank", "speaker", ">score", ">similarity")
    for candidate in answer["candidates"]:
        figures = (number(candidate["score"]), number(candidate["similarity"]))
        table.add_row(str(candidate["rank"]), candidate["speaker_id"], *figures)
    if answer["candidates"]:
        out.print(table)
    out.print(
        facts(
            [
                ("decision", coloured(answer["decision"])),
                ("speaker", answer["speaker_id"] or "–"),
                ("threshold", number(answer["threshold"])),
                ("margin", f"{number(answer['margin'])}, {number(answer['min_margin'])} needed"),
                ("gallery", f"{answer['gallery_size']} searched"),
                ("operating point", operating_point(answer)),
                *explanation(answer),
            ]
        )
    )


def show_segments(answer: Answer) -> None:
    """Who speaks when, then how much everybody speaks."""
    table = columns(">from", ">to", "speaker", ">score")
    for each in answer["segments"]:
        table.add_row(clock(each["start_s"]), clock(each["end_s"]), each["label"], number(each["score"]))
    out.print(table)
    heard = columns("speaker", "decision", ">speech s", ">segments", ">score", ">similarity")
    for each in answer["speakers"]:
        heard.add_row(
            each["label"],
            coloured(each["decision"]),
            number(each["speech_s"], 1),
            str(each["segments_count"]),
            number(each["score"]),
            number(each["similarity"]),
        )
    out.print(heard)


def clock(seconds: float) -> str:
    """A time in a recording as hours, minutes and seconds."""
    minutes, left = divmod(round(seconds, 1), 60)
    return f"{int(minutes // 60)}:{int(minutes % 60):02d}:{left:04.1f}"


def operating_point(answer: Answer) -> str:
    """The errors to expect at the threshold, and what says so; a dash for a threshold of one's own."""
    point = answer["operating_point"]
    if point is None:
        return "–"
    of_search = f"FPIR {rate(point, 'fpir')}, " if "fpir" in point else ""
    return f"{of_search}FMR {rate(point, 'fmr')}, FNMR {rate(point, 'fnmr')} ({point['source']})"


def explanation(answer: Answer) -> list[tuple[str, str]]:
    """Why it was decided so, a row for each remark."""
    remarks = [escape(remark["detail"]) for remark in answer["explanation"]]
    return [("why" if place == 0 else "", words) for place, words in enumerate(remarks)]


def rate(point: Answer, name: str) -> str:
    """An error rate of an operating point with its interval, in per cent."""
    low, high = point[f"{name}_interval"]
    return f"{point[name]:.2%} [{low:.2%}, {high:.2%}]"


def show_speakers(answer: Answer) -> None:
    """A page of speakers."""
    table = columns("speaker", "name", "status", ">recordings", ">speech s", "since")
    for speaker in answer["speakers"]:
        table.add_row(
            speaker["speaker_id"],
            speaker.get("display_name") or "",
            speaker["status"],
            str(speaker["enrollments_count"]),
            number(speaker["speech_s"], 2),
            str(speaker["created_at"])[:19],
        )
    out.print(table)


def show_object(answer: Answer) -> None:
    """Any object, field by field."""
    out.print(facts([(name, "–" if value is None else str(value)) for name, value in answer.items()]))


def show_models(answer: Answer) -> None:
    """The models that the service knows."""
    for model in answer["models"]:
        points = model["operating_points"]
        show_object({name: value for name, value in model.items() if name != "operating_points"})
        table = columns(">FMR", ">FNMR", ">threshold", "measured on")
        for point in points:
            trials = f"{point['target_trials']:,} target and {point['impostor_trials']:,} impostor trials"
            row = (rate(point, "fmr"), rate(point, "fnmr"), number(point["threshold"]))
            table.add_row(*row, f"{point['source']}, {trials}")
        out.print(table)


def show_keys(keys: list[dict[str, Any]]) -> None:
    """API keys, without their secrets."""
    table = columns("key", "tenant", "may", "label", "limit", "expires", "last used")
    for key in keys:
        table.add_row(
            key["key_id"],
            key["tenant_id"],
            ", ".join(key["scopes"]),
            *((key[name] or "–") for name in ("label", "rate_limit", "expires_at", "used_at")),
        )
    out.print(table)
