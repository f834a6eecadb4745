"""docs/configuration.md is what tools/describe_config.py makes of the configuration classes."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_of_settings_is_up_to_date() -> None:
    tool = runpy.run_path(str(ROOT / "tools" / "describe_config.py"))
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == tool["describe_config"](), "run python tools/describe_config.py"


def test_every_section_of_the_configuration_has_its_table() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    keys = ("augment.erasing", "optimizer.sam_rho", "schedule.span", "lr_factor", "distillation", "seed")
    assert [key for key in keys if f"| `{key}` |" not in page] == []
