"""Phrasings of the answers about a log event; what the slots hold is said in `event`."""

GROK = (
    "A grok pattern for this event is:\n{pattern}",
    "This pattern matches the line as a whole:\n{pattern}",
    "{pattern}\nThis grok pattern describes the event.",
    "The event can be parsed with:\n{pattern}",
    "Use the following grok pattern:\n{pattern}",
)
FIELDS = (
    "It extracts {count}: {values}.",
    "The {names} of this line come out as: {values}.",
    "From the line above it takes {values}.",
    "Fields: {names}. Here they are {values}.",
    "Applied to the line it gives {values}.",
)
CONSTANT = (
    "The constant part of the message is {constant}.",
    "Without its variables the event reads {constant}.",
    "The event is a form of {constant}.",
    "Its template is {constant}.",
    "The program logs {constant} with changing values in place of <*>.",
)
ABOUT = (
    "It belongs to {title}. {meaning}",
    "{meaning} Such events count as {title}.",
    "The subject is {title}. {meaning}",
    "{component} reports {title} here. {meaning}",
    "At level {level} it tells of {title}. {meaning}",
    "In {domain} it stands for {title}. {meaning}",
)
VARIABLES = (
    "It has {count}, written <*>.",
    "The text has {count}: one each <*>.",
    "What changes from line to line: {count}.",
    "What changes: {count}.",
)
FIXED = (
    "The message has no variable part; it is the same each time.",
    "Nothing in it varies, so it can be searched for literally.",
    "It is a fixed text without variables.",
)
ONE_VALUE = (
    "Number {ordinal}, after {after}, is {a}: {values} in all lines.",
    "Variable {ordinal} is {a}, always {values} here.",
    "The value after {after} is {a}; only {values} occurs.",
    "Position {ordinal} holds {a}, {values}.",
)
FEW_VALUES = (
    "Number {ordinal}, after {after}, is {a}: {values}.",
    "Variable {ordinal} is {a}; the log has {values}.",
    "The value after {after} is {a}, either {values}.",
    "Position {ordinal} holds {a}: {values} occur.",
)
VALUES = (
    "Number {ordinal}, after {after}, is {a}, for example {values} ({count} different ones).",
    "Variable {ordinal} is {a}: {count} {many} occur, such as {values}.",
    "The value after {after} is {a}, such as {values}; there are {count} of them.",
    "Position {ordinal} holds {a}: {values} and others, {count} in all.",
)
RANGE = (
    "Number {ordinal}, after {after}, is {a} between {span}.",
    "Variable {ordinal} is {a}; it lies between {span} ({count} different values).",
    "The value after {after} is {a}, from the range between {span}, for example {values}.",
    "Position {ordinal} holds {a} between {span}, such as {values}.",
)
SEEN = (
    "The {domain} log contains it {times}.",
    "It is logged {times} in {domain}.",
    "It occurs {times} at level {level}.",
    "{component} writes it, {times} in this log.",
    "It stands in {total}, in {logs}.",
)
KIND = (
    "The event reports {title}.",
    "It is a sign of {title}, logged by {component}.",
    "At level {level} the event reports {title}.",
    "What {domain} reports with {constant} is {title}.",
    "This is about {title}.",
)
STATED = (
    "The cause stands in the line: {stated}.",
    "The message itself gives the reason, {stated}.",
    "As logged, the reason is {stated}.",
    "{stated} names the cause.",
)
UNSTATED = (
    "The line does not state the cause; it may be that {hypothesis}.",
    "A possible cause, not stated here, is that {hypothesis}.",
    "Why is not logged. One explanation is that {hypothesis}.",
    "Hypothesis: {hypothesis}.",
)
HARMLESS = (
    "The event is not an error.",
    "{constant} reports no fault.",
    "At level {level} this is no failure.",
    "It is part of normal work in {domain}.",
)
BEFORE = (
    "In {share}, {other} stands before it, {gap} earlier.",
    "{other} came {gap} before it in {share}.",
    "Within {window} before it the log has {other} in {share}.",
    "Look at {other} first: it preceded this in {share}.",
)
TOGETHER = (
    "Within {window} of this event the log has {count}.",
    "{count} occur within {window} of {constant}.",
    "Near it ({window}) stand {count}.",
    "The event shares a window of {window} with {count}.",
)
NEAR = (
    "{other} stands {where}.",
    "Connected by time is {other}: {where}.",
    "It comes together with {other} ({where}).",
    "It goes with {other}, {where}.",
)
NEAR_FROM = (
    "{other} of {from} stands {where}.",
    "From {from} comes {other}: {where}.",
    "{from} logs {other} {where}.",
    "It goes with {other} ({from}), {where}.",
)
SAME_COMPONENT = (
    "All of them come from {own}.",
    "They are written by the same component, {own}.",
    "The component is {own} each time.",
)
OTHER_COMPONENT = (
    "So {own} and {theirs} work together here.",
    "The event itself comes from {own}; the others from {theirs}.",
    "It links {own} with {theirs}.",
)
AFTER = (
    "In {share}, {other} followed within {window}.",
    "{other} followed {gap} later in {share}.",
    "After it came {other} in {share}, {gap} later.",
    "The log has {other} within {window} after it in {share}.",
)
LIKELY = (
    "So {title} can be expected after this event.",
    "When it appears again, be ready for {title}.",
    "It is an early sign of {title} in this log.",
)
UNCERTAIN = (
    "That is too little to predict {title}, but worth watching.",
    "With {total} this is a hint of {title}, not a rule.",
    "Watch for {title} after it.",
)
NO_FAILURE = (
    "None of its {total} was followed by a failure within {window}.",
    "No failure is to be expected: in {total} none followed within {window}.",
    "The log shows no error or failure within {window} after any of its {total}.",
    "After {constant} came no failure within {window}, in {total}.",
)
