"""What torch_cnn.py and tf_cnn.py share: their flags, and how steps are timed."""
import argparse
import json
import time

SAMPLES = 20000


def read_arguments(description):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", default="speed", choices=["speed"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=5)
    return parser.parse_args()


def print_rates(args, names, order, step, finish=lambda last: None):
    """Runs step(rows of `order`) in four windows, of which the first warms up; prints the best rates as JSON."""
    rates, processor_rates = [], []
    for _ in range(4):
        n, last, start, start_cpu = 0, None, time.perf_counter(), time.process_time()
        while time.perf_counter() - start < args.seconds or n < 5:
            at = n * args.batch % (SAMPLES - args.batch)
            last = step(order[at:at + args.batch])
            n += 1
        finish(last)
        rates.append(n * args.batch / (time.perf_counter() - start))
        processor_rates.append(n * args.batch / (time.process_time() - start_cpu))
    print(json.dumps({**names, "threads": args.threads, "precision": args.precision, "batch": args.batch,
                      "images_per_second": round(max(rates[1:]), 1),
                      "images_per_processor_second": round(max(processor_rates[1:]), 1)}))
