"""One record of a structured log: nested keys flattened with dots, and which of them say time, level and message.

A record is judged by itself, whatever the lines around it, so a file of mixed shapes works line by line and a stream
needs no schema. The roles of a set of keys are found once and remembered (a log has few sets), which leaves about two
microseconds a record. Names are compared without case; what no role takes stays a field under its own name.

Shapes: OpenTelemetry (the log data model's JSON, OTLP/JSON exports included), Elastic Common Schema, Docker json-file,
Bunyan and pino, zap, logrus, slog, python-json-logger, structlog, log4j2, Serilog, Monolog, Caddy, CloudWatch, Google
Cloud, GELF, MongoDB, journald's JSON export.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from loglore.logs.levels import MEANING

DEEPEST = 16
_TIME = (
    "@timestamp timestamp time ts datetime @t t.$date timeunixnano time_unix_nano asctime timestampmillis eventtime "
    "event_time requestreceivedtimestamp __realtime_timestamp date created instant.epochsecond timestamp.seconds "
    "timestampseconds time_local time_iso8601 start_time observedtimeunixnano observed_timestamp receivetimestamp t"
)
_LEVEL = (
    "level severity log.level levelname level_name loglevel log_level lvl severitytext severity_text @l levelno "
    "severitynumber severity_number priority s at"
)
_MESSAGE = (
    "message msg body log textpayload jsonpayload.message jsonpayload.msg event short_message @m @mt @message "
    "log.message text full_message"
)
_COMPONENT = (
    "logger logger_name loggername log.logger category component name subsystem resource.service.name service.name "
    "service app application program syslog_identifier _comm process.name channel unit _systemd_unit "
    "kubernetes.container_name kubernetes.container.name resource.labels.container_name scope.name c"
)
_HOST = "hostname host host.name _hostname kubernetes.host node nodename"
_PID = "pid process.pid _pid processid process_id"
_ROLES = {
    "time": _TIME.split(),
    "level": _LEVEL.split(),
    "message": _MESSAGE.split(),
    "component": _COMPONENT.split(),
    "host": _HOST.split(),
    "pid": _PID.split(),
}
# Where the number of seconds stands apart from its fraction.
_NANOS = {"instant.epochsecond": "instant.nanoofsecond", "timestamp.seconds": "timestamp.nanos"}
_NANOS |= {"timestampseconds": "timestampnanos"}
_ANY_VALUE = frozenset(["stringValue", "intValue", "doubleValue", "boolValue", "bytesValue", "arrayValue"])
_INTEGER = re.compile("-?[0-9]{1,19}")

# Numbers of the families of loggers: the level from this number on.
_SYSLOG = {0: "fatal", 3: "error", 4: "warning", 5: "info", 7: "debug", 8: None}
_OTEL = {1: "trace", 5: "debug", 9: "info", 13: "warning", 17: "error", 21: "fatal", 25: None}
_PYTHON = {10: "debug", 20: "info", 30: "warning", 40: "error", 50: "fatal"}
_BUNYAN = {10: "trace", 20: "debug", 30: "info", 40: "warning", 50: "error", 60: "fatal"}
_MONOLOG = {100: "debug", 200: "info", 300: "warning", 400: "error", 500: "fatal"}
# Longer words are no level, and longer numbers none either.
_LONGEST_LEVEL = 20
# Records with more keys than this are too rare to be remembered.
_MOST_KEYS = 200


class Record(NamedTuple):
    """What a structured line says.

    time: as written (digits are an epoch of any unit), None without one. level: one of `levels.LEVELS` or None.
    message: None when no key is one. fields: every flat key that no role took, with its JSON value. header: whether it
    has a time, a level or a message, as a log line does.
    """

    time: str | None
    level: str | None
    message: str | None
    component: str | None
    host: str | None
    pid: str | None
    fields: dict[str, Any]

    @property
    def header(self) -> bool:
        """Whether this is a log record rather than any JSON object."""
        return self.time is not None or self.level is not None or self.message is not None


def read(value: dict[str, Any]) -> Record:
    """The roles and the remaining fields of a decoded JSON object (or of logfmt's pairs)."""
    if "resourceLogs" in value:
        value = _otlp(value)
    flat: dict[str, Any] = {}
    _flatten(value, "", flat, DEEPEST)
    plan = _plan(tuple(flat)) if len(flat) <= _MOST_KEYS else _plan.__wrapped__(tuple(flat))
    time_key, time = _first(flat, plan["time"], _time)
    if time and time_key.lower() in _NANOS:
        time = _with_nanos(time, time_key, flat)
    level_key, level = _first(flat, plan["level"], _level)
    message_key, message = _first(flat, plan["message"], _message)
    component_key, component = _first(flat, plan["component"], _name)
    host_key, host = _first(flat, plan["host"], _name)
    pid_key, pid = _first(flat, plan["pid"], _pid)
    for key in {time_key, level_key, message_key, component_key, host_key, pid_key}:
        flat.pop(key, None)
    return Record(time, level, message, component, host, pid, flat)


def _first(
    flat: dict[str, Any], keys: tuple[str, ...], reading: Callable[[str, Any], str | None]
) -> tuple[str, str | None]:
    """The first of the keys whose value can be read in its role, and what it says; ("", None) without one."""
    for key in keys:
        text = reading(key, flat[key])
        if text:
            return key, text
    return "", None


@lru_cache(maxsize=4096)
def _plan(keys: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The keys of a record that may fill each role, likeliest first."""
    known = {key.lower(): key for key in keys}
    plan = {role: tuple(known[name] for name in names if name in known) for role, names in _ROLES.items()}
    # `name` is a logger's name only in company of what its libraries write; `s` and `c` are MongoDB's.
    if not known.keys() & {"levelname", "levelno", "v", "hostname"}:
        plan["component"] = tuple(key for key in plan["component"] if key.lower() != "name")
    if "t.$date" not in known:
        plan["level"] = tuple(key for key in plan["level"] if key.lower() != "s")
        plan["component"] = tuple(key for key in plan["component"] if key.lower() != "c")
    return plan


def _time(_: str, value: Any) -> str | None:
    if isinstance(value, float):
        return str(int(value)) if abs(value) >= 1e14 else repr(value)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None


def _with_nanos(seconds: str, key: str, flat: dict[str, Any]) -> str:
    wanted = _NANOS[key.lower()]
    nanos = next((flat.pop(name) for name in list(flat) if name.lower() == wanted), 0)
    return f"{seconds}.{nanos:09d}" if type(nanos) is int else seconds


def _message(_: str, value: Any) -> str | None:
    if isinstance(value, list) and value and all(type(byte) is int and 0 <= byte < 256 for byte in value):
        value = bytes(value).decode("utf-8", errors="replace")  # how journald writes what is not plain text
    if not isinstance(value, str):
        return None
    return " ".join(value.splitlines()) if "\n" in value or "\r" in value else value


def _name(_: str, value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _pid(_: str, value: Any) -> str | None:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None


def _level(key: str, value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float) or len(str(value)) > _LONGEST_LEVEL:
        return None
    return _meaning(key.lower(), value)


@lru_cache(maxsize=4096)
def _meaning(key: str, value: str | int | float) -> str | None:
    """The level that a value means under a (lower-case) key: words of any case, and each family's numbers."""
    if isinstance(value, str) and not value.strip().isdecimal():
        return MEANING.get(value.strip().lower().rstrip("1234"))
    number = int(value)
    scale: Mapping[int, str | None]
    if key in ("severitynumber", "severity_number"):
        scale = _OTEL
    elif key == "levelno":
        scale = _PYTHON
    elif key in ("priority", "severity") or number < 8:
        scale = _SYSLOG
    else:
        scale = _BUNYAN if number < 100 else _MONOLOG
    reached = [level for start, level in scale.items() if number >= start]
    return reached[-1] if reached else None


def _flatten(value: dict[str, Any], prefix: str, flat: dict[str, Any], depth: int) -> None:
    """Nested objects as dotted keys; OpenTelemetry's typed values and key-value lists as plain ones."""
    for key, item in value.items():
        if type(item) is dict and item and depth:
            if len(item) == 1 and not _ANY_VALUE.isdisjoint(item):
                flat[prefix + key] = _plain(item)
            else:
                _flatten(item, f"{prefix}{key}.", flat, depth - 1)
        elif type(item) is list and item and _is_attributes(item):
            # Attributes of the record itself stand without the word before them: `http.status`, `resource.host.name`.
            inner = prefix if key == "attributes" else f"{prefix}{key}."
            _flatten({pair["key"]: pair.get("value") for pair in item}, inner, flat, max(depth - 1, 0))
        else:
            flat[prefix + key] = item


def _is_attributes(items: list[Any]) -> bool:
    return all(type(pair) is dict and type(pair.get("key")) is str and len(pair) <= 2 for pair in items)


def _plain(value: Any) -> Any:
    """The value inside OpenTelemetry's `AnyValue`; 64-bit integers are strings there."""
    ((kind, inner),) = value.items()
    if kind == "intValue" and isinstance(inner, str) and _INTEGER.fullmatch(inner):
        return int(inner)
    if kind == "arrayValue" and type(inner) is dict and type(inner.get("values")) is list:
        return [_plain(item) if type(item) is dict and len(item) == 1 else item for item in inner["values"]]
    return inner


def _otlp(value: dict[str, Any]) -> dict[str, Any]:
    """An exported batch as one record: the first record of it; bodies joined and the worst level when it has more."""
    found = []
    for resource in _items(value, "resourceLogs"):
        for scope in _items(resource, "scopeLogs"):
            for record in _items(scope, "logRecords"):
                around = {"resource": resource.get("resource"), "scope": scope.get("scope")}
                found.append({**record, **{key: one for key, one in around.items() if one}})
    if len(found) < 2:
        return found[0] if found else value
    bodies = [record.get("body") for record in found]
    texts = [str(_plain(body)) if type(body) is dict and len(body) == 1 else str(body) for body in bodies]
    worst = max(found, key=lambda record: _number(record.get("severityNumber")))
    levels: dict[str, Any] = {key: worst[key] for key in ("severityNumber", "severityText") if key in worst}
    return {**found[0], **levels, "body": " | ".join(texts), "records": len(found)}


def _items(value: dict[str, Any], key: str) -> list[dict[str, Any]]:
    items = value.get(key)
    return [item for item in items if type(item) is dict] if type(items) is list else []


def _number(value: Any) -> int:
    return value if type(value) is int else 0
