"""From maximum-entropy RL to SimPO on finite sets of candidates: closed forms, and statements T1..T16 as checks.

Everything is float64 and exact up to rounding; nothing is trained. What a statement rests on is handed to it as
`Formulas`, so that a test can bend any formula and see the checks that rest on it fail.
"""
