"""Side-by-side measurements, run by hand: `python -m benchmarks.NAME`. Figures go into docs/benchmarks.md."""
