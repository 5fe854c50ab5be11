"""What stages will take before anything runs: `plan_all`, and `table` of what it found."""

from overopt.planning.plan import Plan, plan_all, table

__all__ = ["Plan", "plan_all", "table"]
