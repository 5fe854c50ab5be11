"""From maximum-entropy RL to SimPO on finite sets of candidates: closed forms, and statements T1..T16 as checks.

Everything is float64 and exact up to rounding; nothing is trained. Each statement receives the formulas that it uses as
`Formulas`, so that a test can alter any of them and see the checks that depend on it fail.
"""
