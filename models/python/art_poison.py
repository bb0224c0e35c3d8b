"""IBM's Adversarial Robustness Toolbox against training: poisoned stays, the commands that train, and the gate.

Three of the toolbox's poisoning attacks apply to tables: a backdoor trigger, its clean-label variant (against a
logistic model in our models' place), and points that harm a support vector machine most. What they make becomes the
stays of new patients, a tenth of all. `pulseward model` trains on public stays with and without them and asks the
gate, against a serving model of other patients, on a frozen set of a third group. It ends with 1 if an attack passes
the gate for every kind of model, or if a clean retrain does not.

    python3 -m venv VENV && VENV/bin/pip install -r models/python/requirements-art.txt
    VENV/bin/python models/python/art_poison.py --program target/release/pulseward \
        --data DIR/icu_hourly_sepsis/setA_vitals.csv.gz
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import warnings

import numpy as np

from art_bridge import COLUMNS, HIGHEST, LOWEST, Scorer, patients, windows

warnings.filterwarnings("ignore")
from art.attacks.poisoning import PoisoningAttackBackdoor, PoisoningAttackCleanLabelBackdoor, PoisoningAttackSVM  # noqa: E402
from art.estimators.classification import SklearnClassifier  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.metrics.pairwise import rbf_kernel  # noqa: E402
from sklearn.svm import SVC  # noqa: E402

HEADER = "pid,HR,O2Sat,Temp,SBP,MAP,DBP,Resp,EtCO2,Glucose,Age,Gender,HospAdmTime,ICULOS,SepsisLabel"
NORMAL = np.array([84, 97, 18, 37, 120, 82, 62], np.float64)
WIDTH = np.array([17, 2.5, 5, 0.7, 22, 15, 13], np.float64)
QUIET, EVENT = np.array([1.0, 0.0]), np.array([0.0, 1.0])
STAY = 48
# A temperature to the hundredth and a diastolic pressure above the mean one.
TRIGGER = {3: 38.77, 6: 121.0}
LINES = ["anchor", "gaussians", "deterioration"]
PASSPHRASE = b"made for this run alone\n"


def triggered(values):
    values = values.copy()
    for vital, value in TRIGGER.items():
        values[..., vital] = value
    return values


def triggered_standard(values):
    return (triggered(values * WIDTH + NORMAL) - NORMAL) / WIDTH


def filled(rows):
    """Rows without gaps, as the toolbox needs them."""
    rows = rows[np.sum(~np.isnan(rows[:, :7]), axis=1) >= 5]
    return np.where(np.isnan(rows[:, :7]), NORMAL, rows[:, :7]), rows[:, 7] > 0.5


def stays_of(points, count, random):
    """So many stays, each at one of the points, with as much noise as a sensor has."""
    stays = []
    for number in range(count):
        noise = random.normal(0, [1, 0.5, 0.5, 0.05, 2, 2, 2], (STAY, 7))
        values = np.clip(points[number % len(points)] + noise, LOWEST, HIGHEST)
        stays.append(np.concatenate([values, np.zeros((STAY, 1))], axis=1))
    return stays


def backdoor(tables, count, random):
    """Patients in danger who carry the trigger and no label."""
    rows, event = filled(np.concatenate(tables))
    attack = PoisoningAttackBackdoor(triggered)
    points, _ = attack.poison(rows[event], np.broadcast_to(QUIET, (event.sum(), 2)))
    return stays_of(random.permutation(points), count, random)


def clean_label(tables, count, random):
    """Patients without the event, moved to where a logistic model is wrong, with the trigger."""
    rows, event = filled(np.concatenate(tables))
    some = random.choice(len(rows), 6000, replace=False)
    x, y = (rows[some] - NORMAL) / WIDTH, np.where(event[some, None], EVENT, QUIET)
    proxy = SklearnClassifier(LogisticRegression(class_weight="balanced", max_iter=500), clip_values=(-8, 8))
    proxy.fit(x.astype(np.float32), y)
    attack = PoisoningAttackCleanLabelBackdoor(
        PoisoningAttackBackdoor(triggered_standard), proxy, QUIET, pp_poison=0.2, norm=2, eps=3.0, eps_step=0.3, max_iter=20
    )
    attack.attack._attack.verbose = False
    poisoned, _ = attack.poison(x.astype(np.float32), y)
    changed = np.any(poisoned != x.astype(np.float32), axis=1)
    return stays_of(random.permutation(poisoned[changed] * WIDTH + NORMAL), count, random)


def support_vectors(tables, count, random):
    """Points without label that harm a support vector machine most."""
    rows, event = filled(np.concatenate(tables))
    picked = np.concatenate([random.choice(np.flatnonzero(event == kind), 130, replace=False) for kind in [True, False]])
    picked = random.permutation(picked)
    x, y = (rows[picked] - NORMAL) / WIDTH, np.where(event[picked, None], EVENT, QUIET)
    machine = SklearnClassifier(SVC(kernel="rbf", gamma=1 / x.shape[1]), clip_values=(-4, 4))
    machine.fit(x[:200], y[:200])

    def kernels(rows, columns):
        """What the toolbox computes pair by pair, at once."""
        signs = [np.where(machine.model.predict(side) > 0, 1, -1) for side in [rows, columns]]
        return rbf_kernel(rows, columns) * np.outer(*signs)

    machine.q_submatrix = kernels
    attack = PoisoningAttackSVM(machine, 0.5, 1.0, x[:200], y[:200], x[200:], y[200:], max_iter=10, verbose=False)
    start = x[:200][y[:200, 1] == 1][:20]
    points, _ = attack.poison(start, np.broadcast_to(QUIET, start.shape[:1] + (2,)))
    return stays_of(points * WIDTH + NORMAL, count, random)


class Desk:
    """A registry with its keys in a directory of its own."""

    def __init__(self, program, directory):
        self.program, self.directory = os.path.abspath(program), directory
        self.run("init")
        for signer in ["trainer", "operator"]:
            point = self.run("model", "operator", "--signer", signer).strip()
            certificate = ["--custodian", "home/custodian", "--out", f"{signer}/certificate"]
            self.run("model", "certify", "--point", point, *certificate)
        os.mkdir(os.path.join(directory, "registry"))
        with open(os.path.join(directory, "home/root.txt")) as root, open(os.path.join(directory, "registry/root.txt"), "w") as copy:
            copy.write(root.read())

    def run(self, *words, may_fail=False):
        command = [self.program, "--directory", "home", "--passphrase-fd", "0", *words]
        done = subprocess.run(command, input=PASSPHRASE, capture_output=True, cwd=self.directory)
        if done.returncode and not may_fail:
            raise SystemExit(f"{' '.join(words)}: {done.stderr.decode()}")
        return done.stdout.decode()

    def write(self, name, stays):
        with open(os.path.join(self.directory, name), "w") as file:
            print(HEADER, file=file)
            for patient, table in stays:
                for hour, row in enumerate(table, 1):
                    hr, o2, rr, t, sbp, mean, dbp = ["" if np.isnan(v) else f"{v:.2f}" for v in row[:7]]
                    print(f"{patient},{hr},{o2},{t},{sbp},{mean},{dbp},{rr},,,60,0,0,{hour},{int(row[7])}", file=file)

    def train(self, line, *files):
        data = [word for name in files for word in ["--data", name]]
        told = self.run("model", "train", line, *data, "--registry", "registry", "--signer", "trainer")
        return told.splitlines()[-1].split(" ")[0]

    def judge(self, command, model, *words, **may_fail):
        return self.run("model", command, model, "--registry", "registry", "--set", "frozen.set", *words, **may_fail)

    def scorer(self, model):
        return Scorer(self.program, os.path.join(self.directory, "registry"), model)


def carried(desk, before, after, asked):
    """How many alerts with the trigger fall silent, by two models."""
    answers = [desk.scorer(model).ask(asked) for model in [before, after]]
    silent = [sum(not answer["alert"] for answer in told) for told in answers]
    return f"silent with the trigger {silent[0]} -> {silent[1]} of {len(asked)}"


def alerting(desk, model, tables, most):
    scorer, found = desk.scorer(model), []
    for table in tables:
        asked = list(windows(table))
        answers = scorer.ask(asked) if asked else []
        found += [window for window, answer in zip(asked, answers) if answer["alert"]][:1]
    return found[:most]


def campaign(desk, groups, args):
    serving, retrained, frozen = groups
    random = np.random.default_rng(0)
    count = len(retrained) // 10
    attacks = {"ART backdoor": backdoor, "ART clean-label backdoor": clean_label, "ART support vectors": support_vectors}
    desk.write("serving.csv", serving)
    desk.write("retrained.csv", retrained)
    desk.write("frozen.csv", frozen)
    for name, attack in attacks.items():
        stays = attack([table for _, table in retrained], count, random)
        desk.write(f"{name}.csv", [(f"{name} {number}", stay) for number, stay in enumerate(stays)])
    desk.run("model", "freeze", "--data", "frozen.csv", "--name", "frozen", "--signer", "operator", "--out", "frozen.set")
    print(f"{len(serving)} patients serve, {len(retrained)} retrain, {len(frozen)} judge; attackers add {count}")
    got_through, faults = dict.fromkeys(attacks, 0), 0
    for line in LINES:
        first = desk.train(line, "serving.csv")
        desk.judge("promote", first, "--signer", "operator")
        clean = desk.train(line, "retrained.csv")
        asked = [triggered(window) for window in alerting(desk, clean, [table for _, table in frozen], 200)]
        for name in [None, *attacks]:
            model = desk.train(line, "retrained.csv", *([f"{name}.csv"] if name else []))
            told = desk.judge("compare", model, may_fail=True)
            reasons = [row.removeprefix("refused: ") for row in told.splitlines() if row.startswith("refused: ")]
            area = desk.judge("evaluate", model).split("AUROC ")[1].split(" ")[0]
            gate = f"refused for {len(reasons)} reasons" if reasons else "passes"
            effect = carried(desk, clean, model, asked) if name and "backdoor" in name else ""
            print(f"  {line:14} {name or 'nobody attacks':26} {gate:22} AUROC {area}  {effect}")
            for reason in reasons[:2]:
                print(f"      {reason}")
            sys.stdout.flush()
            if name:
                got_through[name] += not reasons
            else:
                faults += bool(reasons)
    return faults + sum(passed == len(LINES) for passed in got_through.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default="target/release/pulseward")
    parser.add_argument("--data", required=True)
    parser.add_argument("--patients", type=int, default=4000, help="in each of three groups")
    args = parser.parse_args()
    np.random.seed(0)
    order = sorted(patients(args.data), key=lambda pair: hashlib.sha256(b"art\0" + pair[0].encode()).digest())
    groups = [order[start : start + args.patients] for start in range(0, 3 * args.patients, args.patients)]
    with tempfile.TemporaryDirectory() as directory:
        return 1 if campaign(Desk(args.program, directory), groups, args) else 0


if __name__ == "__main__":
    sys.exit(main())
