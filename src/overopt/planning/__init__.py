"""The cost of stages before anything runs: `plan_all` computes it, `table` prints it."""

from overopt.planning.plan import Plan, plan_all, table

__all__ = ["Plan", "plan_all", "table"]
