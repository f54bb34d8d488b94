"""Header layouts: how the programs of this world begin a log line, each written as one grok pattern.

The reader strips the header off (time, host, pid, level, component become columns) and `grok` puts it back in front of
a template, so both use this one list. Order matters: the first layout that matches a line wins, so the specific come
before the general. Named fields: `time`, `host`, `pid`, `level`, `priority` (syslog's), `component`; `lead` is a part
before the time that belongs to the message (the client address of an access log).

A new layout is one line here and one example line in `tests/logs/test_reader.py`.
"""

import re
from dataclasses import dataclass
from functools import cache

from loglore.logs.patterns import expand

_ISO = "%{TIMESTAMP_ISO8601:time}"
_PG_LEVEL = (
    "(?P<level>DEBUG[1-5]?|INFO|NOTICE|WARNING|ERROR|LOG|FATAL|PANIC"
    "|DETAIL|HINT|QUERY|CONTEXT|STATEMENT|LOCATION|BACKTRACE)"
)
_NAME = r"(?P<component>[A-Za-z_][\w.$/-]*)"
_LEVEL = "%{LOGLEVEL:level}"
_LOUD = "(?P<level>TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|CRITICAL|FATAL|PANIC)"
_CLASS = r"(?P<component>[A-Za-z_][\w$]*(?:[.$/][\w$]+)*)"
# A logger's name that cannot be taken for the message's first word: at least two dots, as Java's have.
_QUALIFIED = r"(?P<component>[A-Za-z_]\w*(?:\.[\w$]+){2,})"
_THREAD = r"\[[^\]]*\]"
_SERILOG = "(?P<level>VRB|DBG|INF|WRN|ERR|FTL)"
_PROG = r"(?P<component>[^\s:\[\]]+)(?:\[%{INT:pid}\])?"


@dataclass(frozen=True)
class Layout:
    """One way to begin a line.

    name: of the layout. pattern: grok pattern of the header. time: kind of its timestamp (a name of
    `timestamps.KINDS`), None without one. message: what the rest of the line must look like, where the header alone
    could be another program's. status: where an HTTP status stands in the message (group 1) that tells the level.
    """

    name: str
    pattern: str
    time: str | None = None
    message: str = ".*"
    status: str | None = None


# `java.util.logging` writes a record in two lines: time, class and method; then level and message.
TWO_LINES = ("java-util-logging", "java-util-logging-level")
# A clock without a date and little else, which is a header only in a log that has no dates.
CLOCKS = ("clock-level", "clock")
# Layouts whose message is a line of a program that may have a header of its own.
WRAPPING = ("docker", "container")
# After the request of an access log.
_STATUS = r"^[^\"]*\"(?:[^\"\\]|\\.)*\" ([1-5][0-9]{2})\b"

_LISTED = (
    # Daemons with a header of their own.
    Layout("redis", r"%{POSINT:pid}:[XCSM] %{REDISTIMESTAMP:time} (?P<level>[.*#-]) ", "REDISTIMESTAMP"),
    Layout("redis-old", r"\[%{POSINT:pid}\] %{REDISTIMESTAMP:time} (?P<level>[.*#-]) ", "REDISTIMESTAMP"),
    Layout("redis-signal", r"%{POSINT:pid}:signal-handler \(%{EPOCH:time}\) ", "EPOCH"),
    Layout("nginx", rf"%{{SLASHTIMESTAMP:time}} \[{_LEVEL}\] %{{POSINT:pid}}#[0-9]+: ", "SLASHTIMESTAMP"),
    Layout(
        "postgresql",
        rf"{_ISO} %{{TZ}} \[%{{INT:pid}}(?:-[0-9]+)?\] (?:[^\s:]*@[^\s:]* )?{_PG_LEVEL}:  ?",
        "TIMESTAMP_ISO8601",
    ),
    Layout("mariadb", rf"{_ISO} +[0-9]+ \[{_LEVEL}\] ", "TIMESTAMP_ISO8601"),
    Layout("mysql", rf"%{{COMPACTTIMESTAMP:time}} (?:[0-9]+ )?\[{_LEVEL}\] ", "COMPACTTIMESTAMP"),
    Layout("haproxy", rf"\[{_LEVEL}\] +(?:[0-9]+/[0-9]+ )?\(%{{INT:pid}}\) : "),
    Layout(
        "haproxy-traffic",
        r"(?:<%{INT:priority}>)?(?:%{TIMESTAMP_ISO8601} )?(?P<lead>[^\s\[\]]+ )\[%{HAPROXYDATE:time}\] ",
        "HAPROXYDATE",
    ),
    Layout("access", r"(?P<lead>(?:[^\s\[\]]+ ){1,5}?)\[%{HTTPDATE:time}\] ", "HTTPDATE", status=_STATUS),
    Layout(
        "apache",
        rf"\[%{{HTTPDERROR_DATE:time}}\] \[(?:(?P<component>\w*):)?{_LEVEL}\] "
        r"(?:\[pid %{INT:pid}(?::tid [0-9]+)?\] )?",
        "HTTPDERROR_DATE",
    ),
    Layout("squid", r"%{SLASHTIMESTAMP:time}(?: kid[0-9]+)?\| ", "SLASHTIMESTAMP"),
    Layout("tomcat", rf"%{{BINDTIMESTAMP:time}} {_LEVEL} {_THREAD} {_CLASS} ", "BINDTIMESTAMP"),
    Layout(
        "php",
        r"\[%{BINDTIMESTAMP:time}(?: [A-Za-z_/+-]+)?\] (?:PHP )?"
        r"(?:(?P<level>(?:Fatal|Parse|Recoverable fatal) error|Warning|Notice|Deprecated"
        r"|DEBUG|NOTICE|WARNING|ERROR|ALERT): +)?",
        "BINDTIMESTAMP",
    ),
    Layout("bind", r"%{BINDTIMESTAMP:time} (?:(?P<component>[a-z-]+): )?(?:(?P<level>[a-z]+): )?", "BINDTIMESTAMP"),
    Layout(
        "bind-iso",
        rf"{_ISO} (?P<component>[a-z-]+): (?P<level>info|notice|warning|error|critical|debug(?: [0-9]+)?): ",
        "TIMESTAMP_ISO8601",
    ),
    Layout("audit", r"type=(?P<component>[A-Z_]+) msg=audit\(%{EPOCH:time}:[0-9]+\): ", "EPOCH"),
    Layout("mosquitto", r"%{EPOCH:time}: ", "EPOCH"),
    Layout("kernel", r"\[ *[0-9]+\.[0-9]{6}\] "),
    Layout("kernel-dated", r"\[%{HTTPDERROR_DATE:time}\] ", "HTTPDERROR_DATE"),
    Layout("openvpn", r"%{HTTPDERROR_DATE:time} (?:us=[0-9]+ )?", "HTTPDERROR_DATE"),
    Layout("django-server", r"\[%{DJANGOTIMESTAMP:time}\] ", "DJANGOTIMESTAMP", status=_STATUS),
    Layout(
        "clickhouse",
        r"%{DOTTEDTIMESTAMP:time} \[ %{INT:pid} \] \{[^}]*\} <(?P<level>[A-Z][a-z]+)> "
        r"(?:(?P<component>[\w.-]+)(?: \([^)]*\))?: )?",
        "DOTTEDTIMESTAMP",
    ),
    # Java, from its loggers' usual patterns.
    Layout(
        "elasticsearch",
        rf"\[{_ISO}\]\[{_LEVEL} *\]\[{_CLASS} *\] (?:\[(?P<host>[\w.-]+)\] ?)?",
        "TIMESTAMP_ISO8601",
    ),
    Layout("cassandra", rf"{_LOUD} +{_THREAD} {_ISO} {_NAME}:[0-9]+ - ", "TIMESTAMP_ISO8601"),
    Layout("logback", rf"{_ISO} {_THREAD} {_LEVEL} +{_CLASS}(?::[0-9]+)?(?: {_THREAD})? - ", "TIMESTAMP_ISO8601"),
    Layout("logback-clock", rf"%{{CLOCKTIME:time}} {_THREAD} {_LEVEL} +{_CLASS} - ", "CLOCKTIME"),
    Layout("log4j", rf"{_ISO} +{_LEVEL} +{_THREAD} {_CLASS} - ", "TIMESTAMP_ISO8601"),
    Layout("log4j-class", rf"{_ISO} +{_LEVEL} +{_THREAD} {_QUALIFIED} ", "TIMESTAMP_ISO8601"),
    Layout("flink", rf"{_ISO} {_LEVEL} +{_CLASS} +{_THREAD} - ", "TIMESTAMP_ISO8601"),
    Layout("solr", rf"{_ISO} {_LEVEL} +\([^)]*\) {_THREAD} {_QUALIFIED} ", "TIMESTAMP_ISO8601"),
    Layout("jboss", rf"{_ISO} {_LEVEL} +\[{_CLASS}\] \([^)]*\) ", "TIMESTAMP_ISO8601"),
    Layout("jenkins", rf"{_ISO}\s+\[id=[0-9]+\]\s+{_LEVEL}\s+(?P<component>[\w.$#<>-]+): ", "TIMESTAMP_ISO8601"),
    Layout(
        TWO_LINES[0],
        r"%{JULTIMESTAMP:time} (?P<component>[A-Za-z_$][\w.$]*)(?: [\w$<>]+)?",
        "JULTIMESTAMP",
        message="",
    ),
    # Frameworks, all on ISO timestamps.
    Layout("envoy", rf"\[{_ISO}\]\[%{{INT:pid}}\]\[{_LEVEL}\]\[{_NAME}\] (?:\[[^\]]*\] )?", "TIMESTAMP_ISO8601"),
    Layout("celery", rf"\[{_ISO}: {_LEVEL}/(?P<component>[\w-]+)\] ", "TIMESTAMP_ISO8601"),
    Layout(
        "ruby",
        rf"[DIWEFA], \[{_ISO} #%{{INT:pid}}\] +(?:{_LOUD}|ANY) -- (?P<component>[^:\s]+)?: ",
        "TIMESTAMP_ISO8601",
    ),
    Layout(
        "sidekiq",
        rf"{_ISO} pid=%{{INT:pid}} tid=\S+ (?:class=(?P<component>\S+) )?(?:jid=\S+ )?(?:elapsed=\S+ )?{_LEVEL}: ",
        "TIMESTAMP_ISO8601",
    ),
    Layout(
        "monolog",
        rf"\[{_ISO}\] (?P<component>[\w-]+)\.(?P<level>DEBUG|INFO|NOTICE|WARNING|ERROR|CRITICAL|ALERT|EMERGENCY): ",
        "TIMESTAMP_ISO8601",
    ),
    Layout("airflow", rf"\[{_ISO}\] \{{(?P<component>[\w./-]+):[0-9]+\}} {_LEVEL} - ", "TIMESTAMP_ISO8601"),
    Layout("loguru", rf"{_ISO} \| {_LEVEL} +\| (?P<component>[\w.]+):[\w<>.]+:[0-9]+ - ", "TIMESTAMP_ISO8601"),
    Layout("rust-tracing", rf"{_ISO} +{_LEVEL} +(?P<component>\w+(?:::\w+)+): ", "TIMESTAMP_ISO8601"),
    Layout("rust-env", rf"\[{_ISO} +{_LEVEL} +(?P<component>[\w:.-]+)\] ", "TIMESTAMP_ISO8601"),
    Layout("zap", rf"{_ISO}\t{_LEVEL}\t(?:(?P<component>[\w./-]+)(?::[0-9]+)?\t)?", "TIMESTAMP_ISO8601"),
    Layout("lambda", rf"{_ISO}\t%{{UUID}}\t{_LEVEL}\t", "TIMESTAMP_ISO8601"),
    Layout("lambda-level-first", rf"\[{_LEVEL}\]\t{_ISO}\t%{{UUID}}\t", "TIMESTAMP_ISO8601"),
    Layout("actions", rf"{_ISO} ##\[(?P<level>error|warning|notice|debug)\]", "TIMESTAMP_ISO8601"),
    Layout("serilog", rf"{_ISO} \[{_SERILOG}\] ", "TIMESTAMP_ISO8601"),
    Layout("serilog-clock", rf"\[%{{CLOCKTIME:time}} {_SERILOG}\] ", "CLOCKTIME"),
    Layout("level-program", rf"{_ISO} {_LEVEL} +{_NAME}\[%{{INT:pid}}\]: ", "TIMESTAMP_ISO8601"),
    Layout("level-first", rf"\[?{_LOUD} *\]? +\[?{_ISO}\]? (?:{_NAME} %{{INT:pid}} [0-9]+ )?", "TIMESTAMP_ISO8601"),
    Layout("nlog", rf"{_ISO}\|{_LEVEL} *\|(?:{_CLASS}\|)?", "TIMESTAMP_ISO8601"),
    Layout("gunicorn", rf"\[{_ISO}\] \[%{{INT:pid}}\] \[{_LEVEL}\] ", "TIMESTAMP_ISO8601"),
    Layout("flask", rf"\[{_ISO}\] {_LEVEL} in {_NAME}: ", "TIMESTAMP_ISO8601"),
    Layout("bracketed", rf"\[{_ISO}\] \[{_LEVEL}\] (?:\[{_NAME}\] )?", "TIMESTAMP_ISO8601"),
    Layout("spring", rf"{_ISO} +{_LEVEL} %{{INT:pid}} --- (?:\[[^\]]*\] )+{_NAME} *: ", "TIMESTAMP_ISO8601"),
    Layout(
        "zookeeper", rf"{_ISO} - {_LEVEL} +\[(?:.*:)?(?P<component>[A-Za-z_$][\w$]*)@[0-9]+\] - ", "TIMESTAMP_ISO8601"
    ),
    Layout(
        "hadoop", rf"{_ISO} {_LEVEL} +\[(?:%{{INT:pid}}:)?[^\]]*(?:\[[^\]]*\][^\]]*)*\] {_NAME}: ", "TIMESTAMP_ISO8601"
    ),
    Layout("openstack", rf"(?:\S+ )?{_ISO} %{{INT:pid}} {_LEVEL} {_NAME} \[(?:req-[^\]]*|-)\] ", "TIMESTAMP_ISO8601"),
    Layout("windows", rf"{_ISO}, {_LEVEL} {{2,}}(?P<component>[A-Z]+) +", "TIMESTAMP_ISO8601"),
    Layout("python-dashes", rf"{_ISO} - {_NAME} - {_LEVEL} - ", "TIMESTAMP_ISO8601"),
    Layout(
        "supervisor",
        rf"{_ISO} (?P<level>CRIT|ERRO|WARN|INFO|DEBG|TRAC|BLAT) ",
        "TIMESTAMP_ISO8601",
        r"(?:spawned|exited|stopped|reaped|success|killing|spawnerr|gave up|waiting for .*|exit status .*): .*",
    ),
    Layout("python", rf"{_ISO} {_LEVEL} +(?:\[%{{INT:pid}}\] )?\[?{_NAME}\]?: ", "TIMESTAMP_ISO8601"),
    Layout("python-brackets", rf"{_ISO} \[{_LEVEL}\] +(?:\[?{_NAME}\]?: )?", "TIMESTAMP_ISO8601"),
    Layout("python-name-first", rf"{_ISO} \[?{_NAME}\]? \[?{_LEVEL}\]?:? ", "TIMESTAMP_ISO8601"),
    Layout("container", rf"{_ISO} std(?:out|err) [FP] ", "TIMESTAMP_ISO8601"),
    Layout("heroku", rf"{_ISO} (?P<component>[a-z]+\[[\w.-]+\]): ", "TIMESTAMP_ISO8601"),
    Layout(
        "syslog-5424",
        rf"<%{{INT:priority}}>1 {_ISO} (?P<host>\S+) (?P<component>\S+) (?:%{{INT:pid}}|\S+) \S+ "
        r"(?:-|(?:\[(?:[^\]\\\"]|\"(?:[^\"\\]|\\.)*\")*\])+)(?: \ufeff?|$)",
        "TIMESTAMP_ISO8601",
    ),
    Layout("syslog-iso", rf"(?:<%{{INT:priority}}>(?:1 )?)?{_ISO} (?P<host>[\w.-]+) {_PROG}: ", "TIMESTAMP_ISO8601"),
    Layout("journal-full", rf"%{{DAY}} {_ISO} [A-Z]{{3,4}} (?P<host>[\w.-]+) {_PROG}: ", "TIMESTAMP_ISO8601"),
    Layout(
        "iso-level", rf"(?:<%{{INT:priority}}>)?\[?{_ISO}\]?:? +[\[(|]?{_LEVEL}[\])|:]*(?: - |\s+)", "TIMESTAMP_ISO8601"
    ),
    Layout("iso", rf"(?:<%{{INT:priority}}>)?\[?{_ISO}\]?(?: - |:? +|$)", "TIMESTAMP_ISO8601"),
    Layout("slash-level", rf"%{{SLASHTIMESTAMP:time}} {_LEVEL} {_NAME}: ", "SLASHTIMESTAMP"),
    Layout("slash-file", r"%{SLASHTIMESTAMP:time} (?P<component>[\w./-]+\.go):[0-9]+: ", "SLASHTIMESTAMP"),
    Layout("slash-loud", rf"%{{SLASHTIMESTAMP:time}} \[?{_LOUD}\]?:? +", "SLASHTIMESTAMP"),
    Layout("slash", r"%{SLASHTIMESTAMP:time}:? ", "SLASHTIMESTAMP"),
    # syslog, with and without a host.
    Layout(
        "syslog",
        rf"(?:<%{{INT:priority}}>)?%{{SYSLOGTIMESTAMP:time}} (?P<host>[\w.-]+) {_PROG}(?: \([^)]*\)(?:\[[0-9]+\])?)?: ",
        "SYSLOGTIMESTAMP",
    ),
    Layout("syslog-hostless", rf"(?:<%{{INT:priority}}>)?%{{SYSLOGTIMESTAMP:time}} {_PROG}: ", "SYSLOGTIMESTAMP"),
    Layout(
        "syslog-bare",
        r"(?:<%{INT:priority}>)?%{SYSLOGTIMESTAMP:time} (?:(?P<host>[\w.-]+) (?:-- )?)?",
        "SYSLOGTIMESTAMP",
    ),
    # Other systems.
    Layout(
        "klog", r"(?P<level>[IWEF])%{KLOGTIMESTAMP:time} +%{INT:pid} (?P<component>[\w.-]+):[0-9]+\] ", "KLOGTIMESTAMP"
    ),
    Layout(
        "android",
        r"%{MONTHDAYTIMESTAMP:time} +%{INT:pid} +[0-9]+ (?P<level>[VDIWEF]) (?P<component>[^:]*?) *: ",
        "MONTHDAYTIMESTAMP",
    ),
    Layout("proxifier", r"\[%{MONTHDAYTIMESTAMP:time}\] (?:(?P<component>\S+(?: \*64)?) - )?", "MONTHDAYTIMESTAMP"),
    Layout("health", r"%{HEALTHTIMESTAMP:time}\|(?P<component>[^|]*)\|%{INT:pid}\|", "HEALTHTIMESTAMP"),
    Layout("hdfs", rf"%{{COMPACTTIMESTAMP:time}} %{{INT:pid}} {_LEVEL} (?P<component>[\w.$]+): ", "COMPACTTIMESTAMP"),
    Layout(
        "bgl",
        r"\S+ [0-9]{10} [0-9.]{10} \S+ %{BGLTIMESTAMP:time} (?P<host>\S+) \S+ (?P<component>\S+) (?P<level>[A-Z]+) ",
        "BGLTIMESTAMP",
    ),
    Layout(
        "thunderbird",
        rf"\S+ %{{EPOCH:time}} [0-9.]{{10}} (?P<host>\S+) %{{SYSLOGTIMESTAMP}} \S+ (?:{_PROG}: )?",
        "EPOCH",
    ),
    Layout("hpc", r"[0-9]+ (?P<host>\S+) (?P<component>\S+) \S+ %{EPOCH:time} -?[0-9]+ ", "EPOCH"),
    Layout("epoch", r"\[?%{EPOCH:time}\]?:? +", "EPOCH"),
    Layout(
        "dotted-day",
        rf"\[?%{{DOTTEDDAYTIMESTAMP:time}}\]?:? +(?:[\[(|*]?{_LEVEL}[\])|:*]*(?: - |\s+))?",
        "DOTTEDDAYTIMESTAMP",
    ),
    # A clock without a date.
    Layout("minecraft", rf"\[%{{CLOCKTIME:time}}\] \[(?P<component>[^\]/]*)/{_LOUD}\]: ", "CLOCKTIME"),
    Layout(CLOCKS[0], rf"\[?%{{CLOCKTIME:time}}\]?:? +[\[(|]?{_LEVEL}[\])|:]*(?: - |\s+)", "CLOCKTIME"),
    Layout(CLOCKS[1], r"\[?%{CLOCKTIME:time}\]?(?: - |:? +|$)", "CLOCKTIME"),
    # No time at all.
    Layout("python-basic", r"(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL):(?P<component>[A-Za-z_][\w.]*):"),
    Layout("dotnet", "(?P<level>trce|dbug|info|warn|fail|crit): ", message=r"[A-Za-z_][\w.]*\[[0-9]+\]"),
    Layout("uvicorn", r"(?P<level>TRACE|DEBUG|INFO|WARNING|ERROR|CRITICAL): {2,}"),
    Layout(TWO_LINES[1], "(?P<level>SEVERE|WARNING|INFO|CONFIG|FINE|FINER|FINEST): "),
)
LAYOUTS = {layout.name: layout for layout in _LISTED}


@cache
def expression(name: str) -> str:
    """The regular expression of a layout, for Python and Rust: header groups, then `message` up to the line's end."""
    return rf"^{expand(LAYOUTS[name].pattern)}(?P<message>{LAYOUTS[name].message})$"


@cache
def opening(name: str) -> str:
    """An expression that the same lines match as `expression`, without groups and without a look at the whole line."""
    if LAYOUTS[name].message != ".*":
        return expression(name)
    return "^" + re.sub(r"\(\?P<\w+>", "(?:", expand(LAYOUTS[name].pattern))


@cache
def header(name: str) -> str | None:
    """An expression of the header alone, with its groups and as a whole in the group `header`.

    None where the message decides, too. Groups are what costs most in a regular expression, the more the longer the
    text they are in: the message is cut off with the header's length instead.
    """
    layout = LAYOUTS[name]
    return rf"^(?P<header>{expand(layout.pattern)})" if layout.message == ".*" else None
