"""The types of settings that more than one setting has."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from core.settings.base_url import check_base_url
from core.settings.size import check_size

Name = Annotated[str, StringConstraints(pattern=r"^\S+$")]
Region = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$")]  # becomes part of host names
Url = Annotated[str, AfterValidator(check_base_url)]
Count = Annotated[int, Field(ge=1)]
PlanSize = Annotated[int, Field(ge=1, le=10_000)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Dollars = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Cpus = Annotated[float, Field(ge=0.01, allow_inf_nan=False)]
Size = Annotated[str, AfterValidator(check_size)]
Speed = Annotated[float, Field(ge=0, allow_inf_nan=False)]
