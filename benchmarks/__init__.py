"""Side-by-side measurements, each one command; results with hardware and versions in README.md."""
