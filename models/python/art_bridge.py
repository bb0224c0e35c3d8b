"""IBM's Adversarial Robustness Toolbox against the scorers that serve: false readings.

Windows go to black-box attacks of the toolbox; each query goes to `pulseward model score`, so what is attacked
is the code that serves. A window is a picture of twelve hours and seven vital signs, and a pixel is by how many
of its sensor's errors a reading is off: within one, nothing is broken. Attacks try to silence alerts and to force
alarms. A decision that its certificate says stands must stand against all of them, and no score may leave the
certified interval; one that does ends this with 1.

    python3 -m venv VENV && VENV/bin/pip install -r models/python/requirements-art.txt
    VENV/bin/python models/python/art_bridge.py --program target/release/pulseward \
        --registry models/artefacts --model anchor --data DIR/icu_hourly_sepsis/setA_vitals.csv.gz
"""

import argparse
import csv
import gzip
import json
import subprocess
import sys
import time
import warnings

import numpy as np

warnings.filterwarnings("ignore", message="PyTorch not found")
from art.attacks.evasion import BoundaryAttack, HopSkipJump, SignOPTAttack, SimBA, SquareAttack, ZooAttack  # noqa: E402
from art.estimators.classification import BlackBoxClassifierNeuralNetwork  # noqa: E402

COLUMNS = ["HR", "O2Sat", "Resp", "Temp", "SBP", "MAP", "DBP"]
ERRORS = np.array([5, 2, 2, 0.2, 8, 6, 6], np.float64)
# What no sensor on a living patient shows is dropped before it is scored, so it is no attack.
LOWEST = np.array([15, 30, 2, 25, 30, 20, 10], np.float64)
HIGHEST = np.array([350, 100, 90, 45, 300, 250, 200], np.float64)
# To silence: heart rate, breathing and temperature down, saturation and pressures up.
CALMING = np.array([-1, 1, -1, -1, 1, 1, 1], np.float64)
HOURS = 12


class Scorer:
    """One running `pulseward model score`."""

    def __init__(self, program, registry, model):
        command = [program, "model", "score", model, "--registry", registry, "--jsonl"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.queries = 0

    def ask(self, windows):
        line = [[[None if np.isnan(v) else float(v) for v in hour] for hour in window] for window in windows]
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()
        self.queries += len(windows)
        return json.loads(self.process.stdout.readline())


def patients(path):
    """Names and tables of patients, an hour a row; the event is the last column."""
    name, rows = None, []
    with gzip.open(path, "rt", newline="") as file:
        for row in csv.DictReader(file):
            if row["pid"] != name and rows:
                yield name, np.array(rows)
                rows = []
            name = row["pid"]
            values = [float(row[column]) if row[column] not in ("", "NaN") else np.nan for column in COLUMNS]
            rows.append([*values, float(row["SepsisLabel"])])
    yield name, np.array(rows)


def windows(table):
    """The last twelve hours of each hour from the sixth on, without what no sensor shows."""
    values = table[:, : len(COLUMNS)].copy()
    values[(values < LOWEST) | (values > HIGHEST)] = np.nan
    for end in range(6, len(values) + 1):
        window = np.full((HOURS, len(COLUMNS)), np.nan)
        seen = values[max(0, end - HOURS) : end]
        window[HOURS - len(seen) :] = seen
        yield window


def chosen(scorer, path, alert, most):
    """Of each patient the first alert, or a quiet window that scores above nine in ten of its own."""
    found = []
    for _, table in patients(path):
        asked = list(windows(table))
        if not asked:
            continue
        answered = [pair for pair in zip(asked, scorer.ask(asked)) if pair[1]["alert"] == alert]
        if answered and alert:
            found.append(answered[0])
        elif answered:
            answered.sort(key=lambda pair: pair[1]["score"])
            found.append(answered[len(answered) * 9 // 10])
        if len(found) == most:
            break
    return found


class Attacked:
    """One window as the toolbox sees it: by how many sensor errors each reading is off."""

    def __init__(self, scorer, window, answer, radius):
        self.scorer, self.window, self.radius = scorer, window, radius
        self.alert, self.threshold = answer["alert"], answer["threshold"]
        self.least = self.most = answer["score"]
        self.changed = False

    def predict(self, points):
        points = np.asarray(points, np.float64).reshape(-1, HOURS, len(COLUMNS))
        off = np.clip(points, -self.radius, self.radius) * ERRORS
        answers = self.scorer.ask(np.clip(self.window + off, LOWEST, HIGHEST))
        scores = np.array([answer["score"] for answer in answers])
        self.least, self.most = min(self.least, scores.min()), max(self.most, scores.max())
        alerts = np.array([answer["alert"] for answer in answers])
        self.changed |= bool((alerts != self.alert).any())
        # Attacks may use scores, not only decisions; where both disagree the decision counts.
        chance = 1 / (1 + np.exp(-np.clip(scores - self.threshold, -30, 30)))
        chance = np.where(alerts, np.maximum(chance, 0.501), np.minimum(chance, 0.499))
        return np.stack([1 - chance, chance], axis=1)

    def predict_of_three(self, points):
        """The same with a class that never is: Sign-OPT refuses two."""
        return np.pad(self.predict(points), ((0, 0), (0, 1)))

    def classifier(self, classes=2):
        shape, bounds = (HOURS, len(COLUMNS), 1), (-self.radius, self.radius)
        predict = self.predict if classes == 2 else self.predict_of_three
        return BlackBoxClassifierNeuralNetwork(predict, shape, classes, channels_first=False, clip_values=bounds)

    def start(self, random):
        """A changed decision to begin from: every reading calmed or alarmed, else by chance."""
        towards = CALMING if self.alert else -CALMING
        corner = np.broadcast_to(towards * self.radius, (HOURS, len(COLUMNS)))
        several = random.choice([-self.radius, self.radius], (63, HOURS, len(COLUMNS)))
        points = np.concatenate([corner[None], several])[..., None].astype(np.float32)
        changed = (self.predict(points)[:, 1] > 0.5) != self.alert
        return points[changed][:1] if changed.any() else None


def attacks(attacked):
    """Names, attacks, and whether they take a place to begin."""
    classifier, radius = attacked.classifier(), attacked.radius
    quiet = {"verbose": False}
    yield "boundary", BoundaryAttack(classifier, targeted=False, max_iter=40, num_trial=10, sample_size=10, init_size=60, **quiet), True
    yield "HopSkipJump", HopSkipJump(classifier, norm=2, max_iter=8, max_eval=200, init_eval=20, init_size=60, **quiet), True
    yield "HopSkipJump, largest", HopSkipJump(classifier, norm=np.inf, max_iter=8, max_eval=200, init_eval=20, init_size=60, **quiet), True
    yield "Sign-OPT", SignOPTAttack(attacked.classifier(3), targeted=False, num_trial=20, max_iter=20, query_limit=1500, k=20, **quiet), False
    yield "ZOO", ZooAttack(classifier, max_iter=60, binary_search_steps=3, learning_rate=0.3, nb_parallel=16, use_resize=False, use_importance=False, variable_h=0.3, **quiet), False
    yield "square", SquareAttack(classifier, norm=np.inf, eps=radius, max_iter=150, p_init=0.3, nb_restarts=2, **quiet), False
    yield "SimBA", SimBA(classifier, attack="px", epsilon=radius, max_iter=300, freq_dim=HOURS, **quiet), False


def attack(scorer, window, answer, radius, random):
    """Which attacks change the decision, and how far scores got."""
    attacked, won = Attacked(scorer, window, answer, radius), {}
    start = attacked.start(random)
    won["corners, not ART's"] = start is not None
    calm = np.zeros((1, HOURS, len(COLUMNS), 1), np.float32)
    for name, tool, takes_start in attacks(attacked):
        attacked.changed = False
        given = {"x_adv_init": start.copy()} if takes_start and start is not None else {}
        try:
            tool.generate(calm.copy(), **given)
        except (AssertionError, IndexError, ValueError) as error:
            print(f"  {name}: {type(error).__name__} {error}", file=sys.stderr)
        # A query on the way counts as much as where the attack ends.
        won[name] = attacked.changed
    return attacked, won


def campaign(scorer, path, alert, args):
    """Attacks all of one kind and returns how often a certificate was broken."""
    random = np.random.default_rng(0)
    targets = chosen(scorer, path, alert, args.windows)
    changed, broken, outside, surely = {}, 0, 0, 0
    began, before = time.perf_counter(), scorer.queries
    for window, answer in targets:
        attacked, won = attack(scorer, window, answer, args.radius, random)
        stands = answer["stands_at_1x"] and args.radius <= 1
        surely += stands
        for name, did in won.items():
            changed[name] = changed.get(name, 0) + did
        changed["any of them"] = changed.get("any of them", 0) + any(won.values())
        broken += stands and any(won.values())
        slack = 1e-6 * (1 + abs(answer["score"]))
        below = attacked.least < answer["least_at_1x"] - slack
        outside += args.radius <= 1 and (below or attacked.most > answer["most_at_1x"] + slack)
    what = "alerts to silence" if alert else "quiet windows to alarm"
    took, queries = time.perf_counter() - began, scorer.queries - before
    print(f"{args.model}, {what}, {args.radius}x for 12 h: {len(targets)}, {queries} queries, {took:.0f} s")
    for name, count in changed.items():
        print(f"  {name:24} {count:4} of {len(targets)}")
    print(f"  {'not certified':24} {len(targets) - surely:4} of {len(targets)}")
    print(f"  certified decisions changed: {broken}; scores outside the certified interval: {outside}", flush=True)
    return broken + outside


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default="target/release/pulseward")
    parser.add_argument("--registry", default="models/artefacts")
    parser.add_argument("--model", default="anchor", help="anchor, gaussians, deterioration, or a name's beginning")
    parser.add_argument("--data", required=True)
    parser.add_argument("--windows", type=int, default=60)
    parser.add_argument("--radius", type=float, default=1.0, help="in sensor errors; certificates are of 1")
    args = parser.parse_args()
    np.random.seed(0)
    scorer = Scorer(args.program, args.registry, args.model)
    return 1 if sum(campaign(scorer, args.data, alert, args) for alert in [True, False]) else 0


if __name__ == "__main__":
    sys.exit(main())
