"""IBM's Adversarial Robustness Toolbox against the scorers that serve.

Each alert's window goes to black-box attacks of the toolbox; each query goes to `pulseward model score`,
so what is attacked is the code that serves. Coordinates are readings in units of their sensors' errors:
a perturbation of 1 is what a sensor in order may be off by. An alert that its certificate says stands at
1x must stand against every attack within 1x, and no score may fall below the certified one.

    python3 -m venv target/venv-art && target/venv-art/bin/pip install -r models/python/requirements-art.txt
    target/venv-art/bin/python models/python/art_bridge.py --program target/debug/pulseward \
        --registry models/artefacts --model anchor --data DIR/icu_hourly_sepsis/setA_vitals.csv.gz
"""

import argparse
import csv
import gzip
import json
import subprocess
import sys

import numpy as np
from art.attacks.evasion import BoundaryAttack, HopSkipJump, ZooAttack
from art.estimators.classification import BlackBoxClassifier

COLUMNS = ["HR", "O2Sat", "Resp", "Temp", "SBP", "MAP", "DBP"]
ERRORS = np.array([5, 2, 2, 0.2, 8, 6, 6], np.float64)
HOURS = 12


class Scorer:
    """One running `pulseward model score`."""

    def __init__(self, args):
        command = [args.program, "model", "score", args.model, "--registry", args.registry, "--jsonl"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.queries = 0

    def ask(self, windows):
        line = [[[None if np.isnan(v) else float(v) for v in hour] for hour in window] for window in windows]
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()
        self.queries += len(windows)
        return json.loads(self.process.stdout.readline())


def alerts(scorer, path, most):
    """The first alert of each patient, over the last twelve hours."""
    found, rows, name = [], [], None

    def patient(rows):
        windows = [np.array(rows[max(0, end - HOURS) : end]) for end in range(6, len(rows) + 1)]
        if not windows:
            return
        for window, answer in zip(windows, scorer.ask(windows)):
            if answer["alert"]:
                found.append((window, answer))
                return

    with gzip.open(path, "rt", newline="") as file:
        for row in csv.DictReader(file):
            if row["pid"] != name:
                patient(rows)
                rows, name = [], row["pid"]
                if len(found) >= most:
                    return found
            rows.append([float(row[column]) if row[column] not in ("", "NaN") else np.nan for column in COLUMNS])
    return found


class Attacked:
    """One window as the toolbox sees it: the readings that are there, in sensor errors."""

    def __init__(self, scorer, window, radius):
        self.scorer, self.window, self.radius = scorer, window, radius
        self.there = ~np.isnan(window)
        self.errors = np.broadcast_to(ERRORS, window.shape)[self.there]
        self.truth = window[self.there] / self.errors
        self.least = np.inf

    def predict(self, points):
        windows = []
        for point in points:
            # Within the radius exactly, whatever an attack's own rounding does.
            inside = np.clip(point, self.truth - self.radius, self.truth + self.radius)
            window = self.window.copy()
            window[self.there] = inside * self.errors
            windows.append(window)
        answers = self.scorer.ask(windows)
        self.least = min(self.least, min(answer["score"] for answer in answers))
        return np.array([[0.0, 1.0] if answer["alert"] else [1.0, 0.0] for answer in answers])

    def classifier(self):
        low, high = self.truth.min() - 2 * self.radius, self.truth.max() + 2 * self.radius
        return BlackBoxClassifier(self.predict, self.truth.shape, 2, clip_values=(low, high))


def attacks(classifier):
    parallel = min(8, classifier.input_shape[0])
    yield "boundary", BoundaryAttack(classifier, targeted=False, max_iter=40, num_trial=10, sample_size=10, init_size=60, verbose=False)
    yield "hop-skip-jump", HopSkipJump(classifier, norm=np.inf, max_iter=6, max_eval=120, init_eval=20, init_size=40, verbose=False)
    yield "zoo", ZooAttack(classifier, max_iter=8, binary_search_steps=2, nb_parallel=parallel, use_resize=False, use_importance=False, variable_h=0.5, verbose=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default="target/debug/pulseward")
    parser.add_argument("--registry", default="models/artefacts")
    parser.add_argument("--model", default="anchor")
    parser.add_argument("--data", required=True)
    parser.add_argument("--alerts", type=int, default=60)
    parser.add_argument("--radius", type=float, default=1.0, help="in sensor errors; certificates are of 1")
    args = parser.parse_args()
    np.random.seed(0)
    scorer = Scorer(args)
    chosen = alerts(scorer, args.data, args.alerts)
    broken, below, silenced = 0, 0, {}
    for window, answer in chosen:
        attacked = Attacked(scorer, window, args.radius)
        for name, attack in attacks(attacked.classifier()):
            point = attack.generate(attacked.truth[None, :].astype(np.float32))
            quiet = attacked.predict(point)[0, 0] == 1.0
            silenced[name] = silenced.get(name, 0) + quiet
            broken += bool(quiet and answer["stands_at_1x"] and args.radius <= 1)
        if args.radius <= 1 and attacked.least < answer["least_at_1x"] - 1e-9 * (1 + abs(answer["least_at_1x"])):
            below += 1
    stands = sum(answer["stands_at_1x"] for _, answer in chosen)
    print(f"{args.model}: {len(chosen)} alerts, {stands} certified at 1x for 12 h, {scorer.queries} queries")
    for name, count in silenced.items():
        print(f"  {name:14} within {args.radius}x silences {count} of {len(chosen)}")
    print(f"  certified alerts silenced: {broken}; scores below the certificate: {below}")
    return 1 if broken or below else 0


if __name__ == "__main__":
    sys.exit(main())
