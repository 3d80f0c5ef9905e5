"""What perf/compare, perf/scaling and perf/soak share: brokers, runs of leveret-perf, the machine, charts."""
