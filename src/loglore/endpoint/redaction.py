"""What leaves the machine: addresses, hosts, users, mail and secrets as placeholders, put back into what comes in.

    10.2.3.4 root@db1.corp.example  ──redact──▶  <IP_1> <MAIL_1>  ──model──▶  "<IP_1> …"  ──restore──▶  "10.2.3.4 …"

The same value has the same placeholder for as long as a `Redactor` lives, so a model can still see that two lines name
one host. `restore(redact(text)) == text` for every text: what already looks like a placeholder is replaced, too, and no
replaced value contains a quote, a backslash or a blank, so that it can be put back into JSON.

It is pattern matching, not understanding: what has the form of none of these (a customer's name in prose, a bare host
name that was never seen in a header or a URL) is sent as it is. `loglore synth preview` shows what would be sent.
It takes 10 to 20 ms of CPU for 10,000 characters of log, little beside the seconds of an answer.
Kept, because they identify nobody and tell much: loopback and wildcard addresses, `root` and other stock accounts.
"""

import ipaddress
import json
import math
import re
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from loglore.runs import files

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_GROUPS = r"[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4}){0,6}"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?"
# Ends of names that are hosts and hardly ever files or packages (`.py`, `.sh`, `.info`, `.name` are left out).
_TOP = (
    "com net org edu gov mil int io dev app cloud local localdomain internal intranet lan corp home test example "
    "invalid arpa biz online site tech xyz svc prod staging jp uk de fr cn kr tw in au br nl eu us ca it es ch se no "
    "fi dk cz at be"
)
_NAME_CHARACTERS = r"[A-Za-z_][A-Za-z0-9_.-]*[A-Za-z0-9_$-]"
_SECRET_NAMES = (
    r"passw(?:or)?d|passwd|pwd|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|key|authorization|auth"
    r"|credentials?|signature|session(?:[_-]?id)?|cookie|sid"
)
_PASSWORD = re.compile(r"(?i)pass|pwd")
# In order: where two match at one place the first wins. A group's name without its number is the placeholder's kind.
_KINDS = (
    ("LITERAL", r"<[A-Z]+_[0-9]+>"),
    ("SECRET", r"(?<=://)[^\s/@\"'`<>\\]+:[^\s/@\"'`<>\\]+(?=@)"),
    ("SECRET", r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    ("SECRET", r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]+)?"),
    ("SECRET", r"\b(?:sk|pk|rk)[-_](?:[a-z]+[-_])?[A-Za-z0-9_-]{16,}"),
    ("SECRET", r"\b(?:gh[pousr]_|github_pat_|glpat-|xox[abprs]-|hf_|AIza|npm_)[A-Za-z0-9_-]{16,}"),
    ("SECRET", r"(?<![\w+/=])[A-Za-z0-9+/]{60,}={0,2}(?![\w+/=])"),
    ("CONTEXT", r"\b(?i:bearer|basic|digest)\s+(?P<bearer>[A-Za-z0-9._~+/=-]{12,})"),
    (
        "CONTEXT",
        rf"(?<![A-Za-z0-9])(?P<name>[A-Za-z0-9_.-]{{0,40}}?(?i:{_SECRET_NAMES})(?:[_-][A-Za-z0-9_-]{{1,20}})?)"
        r"[\"']?\s?[=:]\s?[\"']?(?:(?i:bearer|basic|digest|token)\s)?"
        r"(?P<assigned>[^\s\"'`,;&<>\\(){}\[\]]+)",
    ),
    ("MAIL", r"[A-Za-z0-9._%+-]+@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?"),
    ("HOST", r"(?<=@)[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?"),
    ("MAC", r"(?<![\w:-])[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}(?![\w:-])"),
    ("IP", rf"(?<![\w:.])::(?:[Ff]{{4}}:)?{_IPV4}(?![0-9]|\.[0-9])"),
    ("IP", r"(?<![\w:.])(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}(?![\w:])"),
    ("IP", rf"(?<![\w:.])(?:{_GROUPS})?::(?:{_GROUPS})?(?![\w:])"),
    ("IP", rf"(?<![0-9.]){_IPV4}(?![0-9]|\.[0-9])"),
    ("HOST", r"\bip(?:-[0-9]{1,3}){4}\b"),
    ("HOST", rf"(?<=://){_LABEL}(?:\.{_LABEL})*"),
    ("HOST", rf"(?<![\w.-])(?:{_LABEL}\.)+(?i:{'|'.join(_TOP.split())})(?![\w-]|\.\w)"),
    ("HOST", r"(?<![\w./-])[A-Za-z][A-Za-z0-9]*[0-9-][A-Za-z0-9-]*(?=:[1-9][0-9]{1,4}\b)"),
    ("CONTEXT", rf"\b(?i:r?host|hostname|node|server_name)=[\"']?(?P<host>{_LABEL}(?:\.{_LABEL})*)"),
    (
        "CONTEXT",
        r"\b(?i:invalid user|user ?name|r?user|login|logname|account|role)(?:[ ]?[=:][ ]?|[ ])[\"']?"
        rf"(?P<user>{_NAME_CHARACTERS})(?![\w=(])",
    ),
    ("CONTEXT", rf"\b(?:for|by) (?P<login>{_NAME_CHARACTERS})(?= from |\(uid=)"),
    ("CONTEXT", rf"\b(?i:user) (?P<session>{_NAME_CHARACTERS})(?=\(uid=)"),
    ("CONTEXT", r"(?:/home/|\\Users\\)(?P<home>[A-Za-z_][A-Za-z0-9_-]+)"),
    ("WORD", r"[A-Za-z][A-Za-z0-9_.-]*[A-Za-z0-9_]"),
)
_PATTERN = re.compile("|".join(f"(?P<{kind}{number}>{pattern})" for number, (kind, pattern) in enumerate(_KINDS)))
_CONTEXT = {"bearer": "SECRET", "host": "HOST", "user": "USER", "login": "USER", "session": "USER", "home": "USER"}
_PLACEHOLDER = re.compile(r"<[A-Z]+_[0-9]+>")
_UNFINISHED = re.compile(r"<(?:[A-Z]{1,8}(?:_[0-9]{0,9})?)?$")
# The host of a syslog header: after a classic or an ISO time, before a program's name.
_HEADER = re.compile(
    r"^(?:L[0-9]+\|)?(?:<[0-9]+>[0-9]? ?)?(?:[A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8}|[0-9]{4}-[0-9]{2}-[0-9]{2}T\S+)"
    r" (?P<host>[A-Za-z][A-Za-z0-9_.-]*) [\w./()-]+(?:\[[0-9]+\])?:",
    re.MULTILINE,
)
# Accounts and names that identify nobody; then words that stand after `user` and are no names.
_STOCK_NAMES = (
    "root admin administrator nobody daemon guest system postgres mysql mariadb redis nginx apache www-data httpd "
    "oracle ubuntu debian ec2-user git localhost sshd systemd kernel default anonymous "
    "name unknown is not for request by from authentication does was the has with and or to agent id input in on "
    "session sessions failed login logged of at space mode process processes exists"
)
_STOCK = frozenset(_STOCK_NAMES.split())
_NO_SECRETS = "null none nil true false yes no on off empty missing invalid required incorrect wrong"
_TRIVIAL = frozenset(_NO_SECRETS.split())
_LEAST_ENTROPY = 2.5  # bits a character: about that of eight random hex digits


class Redactor:
    """Placeholders for one run.

    Args:
        path: file that keeps the placeholders, for a run that is continued by another process (the batch mode); it
            holds the values themselves and stays on this machine. None keeps them in memory.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._placeholders: dict[str, str] = {}
        self._values: dict[str, str] = {}
        self._counts: Counter[str] = Counter()
        self._known: dict[str, str] = {}
        self._path = path
        self._lock = threading.Lock()
        if path is not None and path.exists():
            for placeholder, value in json.loads(path.read_text(encoding="utf-8")).items():
                self._remember(placeholder, value)

    def redact(self, text: str) -> str:
        """The text with placeholders."""
        with self._lock:
            for found in _HEADER.finditer(text):
                if found["host"].lower() not in _STOCK:
                    self._known[found["host"]] = "HOST"
            # Twice: a user named in the text's last line may stand in its first.
            names = len(self._known)
            redacted = _PATTERN.sub(self._replace, text)
            return redacted if len(self._known) == names else _PATTERN.sub(self._replace, text)

    def restore(self, text: str) -> str:
        """The text with the values of its placeholders; unknown placeholders stay."""
        return _PLACEHOLDER.sub(lambda found: self._values.get(found[0], found[0]), text)

    def stream(self, show: Callable[[str], None]) -> "Stream":
        """Restore a text that comes in pieces, and show each piece as soon as no placeholder can be cut by its end."""
        return Stream(self, show)

    def save(self) -> None:
        """Write the placeholders to the file given."""
        if self._path is not None:
            files.write_text(self._path, json.dumps(self._values, ensure_ascii=False, indent=1))
            self._path.chmod(0o600)

    def counts(self) -> dict[str, int]:
        """How many different values of each kind were replaced so far."""
        return dict(self._counts)

    def _replace(self, found: "re.Match[str]") -> str:
        # The group that closed last is the outermost one.
        kind = str(found.lastgroup).rstrip("0123456789")
        text = found[0]
        if kind == "WORD":
            return self._placeholder(self._known[text], text) if text in self._known else text
        if kind == "CONTEXT":
            return self._in_context(found)
        if kind == "IP" and not _identifies(text):
            return text
        if kind == "HOST" and text.lower() in _STOCK:
            return text
        return self._placeholder(kind, text)

    def _in_context(self, found: "re.Match[str]") -> str:
        group = next(name for name in (*_CONTEXT, "assigned") if found[name] is not None)
        value = found[group]
        head, tail = found[0][: found.start(group) - found.start()], found[0][found.end(group) - found.start() :]
        if group == "assigned":
            # `db1.corp.example.password=…` names a host, too.
            owner = found["name"].rpartition(".")[0]
            head = _PATTERN.sub(self._replace, owner) + head[len(owner) :]
            if not _secret(found["name"], value):
                return head + _PATTERN.sub(self._replace, value) + tail
            return f"{head}{self._placeholder('SECRET', value)}{tail}"
        kind = _CONTEXT[group]
        if kind != "SECRET" and value.lower() in _STOCK:
            return found[0]
        if kind == "HOST" and _is_address(value):
            return head + _PATTERN.sub(self._replace, value) + tail
        if kind == "USER" and len(value) > 2:
            self._known[value] = kind
        return f"{head}{self._placeholder(kind, value)}{tail}"

    def _placeholder(self, kind: str, value: str) -> str:
        if value not in self._placeholders:
            self._counts[kind] += 1
            self._remember(f"<{kind}_{self._counts[kind]}>", value)
        return self._placeholders[value]

    def _remember(self, placeholder: str, value: str) -> None:
        kind, number = placeholder.strip("<>").split("_")
        self._counts[kind] = max(self._counts[kind], int(number))
        self._placeholders[value] = placeholder
        self._values[placeholder] = value
        if kind in ("HOST", "USER") and len(value) > 2:
            self._known.setdefault(value, kind)


class Stream:
    """Pieces of a text on their way to the user, with values restored; call it with each piece, then `end`."""

    def __init__(self, redactor: Redactor, show: Callable[[str], None]) -> None:
        self._redactor = redactor
        self._show = show
        self._held = ""

    def __call__(self, piece: str) -> None:
        """Take a piece; what may be the beginning of a placeholder is held back."""
        text = self._held + piece
        cut = _UNFINISHED.search(text)
        end = cut.start() if cut else len(text)
        self._held = text[end:]
        if end:
            self._show(self._redactor.restore(text[:end]))

    def end(self) -> None:
        """Show what was held back."""
        if self._held:
            self._show(self._held)
            self._held = ""


def _identifies(address: str) -> bool:
    """Whether an address can identify a machine; malformed ones are no addresses."""
    if not _is_address(address):
        return False
    parsed = ipaddress.ip_address(address)
    return not (parsed.is_loopback or parsed.is_unspecified or address == "255.255.255.255")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _secret(name: str, value: str) -> bool:
    """Whether what is assigned to a name is a secret: anything for a password, high entropy for the others."""
    if value.lower() in _TRIVIAL or _PLACEHOLDER.fullmatch(value):
        return False
    if _PASSWORD.search(name):
        return True
    counts = Counter(value)
    bits = -sum(count / len(value) * math.log2(count / len(value)) for count in counts.values())
    return len(value) >= 8 and bits >= _LEAST_ENTROPY and any(character.isdigit() for character in value)
