"""Names that tell an assertion."""

import re

ASSERTING = re.compile(
    r"assert|expect|fail|raise|warns|exit|check|verify|ensure|require|should|same|equal|compare|validat"
    r"|match|throws|rejects|^(?:ok|is)$",
    re.IGNORECASE,
)
