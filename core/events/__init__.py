"""What happens in a run, as events; the journal, the screen, --json and the report read these."""

from core.events.base import *
from core.events.checks import *
from core.events.delivery import *
from core.events.event import *
from core.events.forecast import *
from core.events.jobs import *
from core.events.run import *
