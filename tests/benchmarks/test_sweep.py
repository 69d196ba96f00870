"""The table of a sweep counts the prefix once and every configuration in full."""

from benchmarks.sweep import table


def test_the_time_of_a_sweep_is_the_prefix_and_all_its_runs() -> None:
    single = {"samples_per_second": 100.0, "prefix_seconds": 0.0, "peak_memory_bytes": 2 << 30}
    cached = {
        "samples_per_second": 400.0,
        "prefix_seconds": 7.0,
        "peak_memory_bytes": 1 << 30,
        "cache_bytes": 5_000_000,
    }
    found = [("ours", "all", single), ("ours, cached", "top 1", cached)]
    lines = table(found, configurations=8, epochs=2, rows=500, trained=450)
    assert lines[2] == "| ours, adapters in all | 100.0 | 0 s | 72 s | 8.00 | 2.00 GiB |"
    assert lines[3] == "| ours, cached, adapters in top 1 | 400.0 | 7 s (10 kB a row) | 25 s | 2.78 | 1.00 GiB |"
