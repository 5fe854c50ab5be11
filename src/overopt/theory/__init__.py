"""From maximum-entropy RL to SimPO on finite sets of candidates: closed forms, and statements T1..T16 as checks.

Everything is float64 and exact up to rounding; nothing is trained. Statements call all formulas as `exact.NAME` (closed
forms) or `objectives.NAME` (what training uses), so that a test can replace one and see its checks fail.
"""
