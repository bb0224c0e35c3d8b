"""What well-known detectors make of the same rows: PyOD, scikit-learn and river on the sepsis study.

The protocol is that of `figures sepsis`: patients in the order of SHA-256("split\\0" + name), the first 4,000
train, the next 4,000 are judged, a row an hour. Features are the last value, and mean, least and most of
twelve hours of seven vitals, missing ones at a clinical constant; nothing tells how long somebody has been in
or how often somebody was measured. Unsupervised detectors see 20,000 rows of patients without the event.

    python3 -m venv target/venv-baselines && target/venv-baselines/bin/pip install -r models/python/requirements-baselines.txt
    target/venv-baselines/bin/python models/python/baselines.py DIR/icu_hourly_sepsis/setA_vitals.csv.gz
"""

import csv
import gzip
import hashlib
import sys
import time

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

COLUMNS = ["HR", "O2Sat", "Resp", "Temp", "SBP", "MAP", "DBP"]
NORMAL = np.array([84, 97, 18, 37, 120, 82, 62], np.float64)
WIDTH = np.array([17, 2.5, 5, 0.7, 22, 15, 13], np.float64)
LOWEST = np.array([15, 30, 2, 25, 30, 20, 10], np.float64)
HIGHEST = np.array([350, 100, 90, 45, 300, 250, 200], np.float64)
GROUP, TRAIN_ROWS, HOURS, CARRIED = 4000, 20000, 12, 24


def read(path):
    patients = {}
    with gzip.open(path, "rt", newline="") as file:
        for row in csv.DictReader(file):
            values = [float(row[c]) if row[c] not in ("", "NaN") else np.nan for c in COLUMNS]
            patients.setdefault(row["pid"], []).append((int(row["ICULOS"]), values, row["SepsisLabel"] == "1"))
    order = lambda name: hashlib.sha256(b"split\0" + name.encode()).digest()
    return [patients[name] for name in sorted(patients, key=order)]


def features(patient):
    values = np.array([row[1] for row in patient])
    values[(values < LOWEST) | (values > HIGHEST)] = np.nan
    described = np.empty((len(values), len(COLUMNS) * 4))
    last, age = np.full(len(COLUMNS), np.nan), np.zeros(len(COLUMNS))
    filled = np.empty_like(values)
    for index, row in enumerate(values):
        there = ~np.isnan(row)
        last, age = np.where(there, row, last), np.where(there, 0, age + 1)
        filled[index] = np.where(age < CARRIED, last, np.nan)
        window = filled[max(0, index + 1 - HOURS) : index + 1]
        window = (np.where(np.isnan(window), NORMAL, window) - NORMAL) / WIDTH
        described[index] = np.clip(np.r_[window[-1], window.mean(0), window.min(0), window.max(0)], -8, 8)
    return described


def within_hours(scores, labels, hours):
    total, weight = 0.0, 0
    for hour in np.unique(hours):
        rows = hours == hour
        events = int(labels[rows].sum())
        if 0 < events < rows.sum():
            total += events * roc_auc_score(labels[rows], scores[rows])
            weight += events
    return total / max(weight, 1)


def main():
    patients = read(sys.argv[1])
    train, judged = patients[:GROUP], patients[GROUP : 2 * GROUP]
    x_train = [features(patient) for patient in train]
    y_train = [np.array([row[2] for row in patient]) for patient in train]
    x = np.concatenate([features(patient) for patient in judged])
    y = np.concatenate([[row[2] for row in patient] for patient in judged])
    hours = np.minimum(np.concatenate([[row[0] for row in patient] for patient in judged]), 120)
    quiet = np.concatenate([a for a, b in zip(x_train, y_train) if not b.any()])
    rng = np.random.default_rng(1)
    quiet = quiet[rng.choice(len(quiet), TRAIN_ROWS, replace=False)]
    every_x, every_y = np.concatenate(x_train), np.concatenate(y_train)
    some = rng.choice(len(y), 20000, replace=False)

    def told(name, score, rows=slice(None)):
        began = time.perf_counter()
        scores = np.asarray(score(x[rows]), np.float64)
        micros = 1e6 * (time.perf_counter() - began) / len(scores)
        area, precision = roc_auc_score(y[rows], scores), average_precision_score(y[rows], scores)
        strat = within_hours(scores, y[rows], hours[rows])
        print(f"{name:38} AUROC {area:.3f}  strat {strat:.3f}  AP {precision:.3f}  {micros:7.2f} us/row", flush=True)

    told("hour of stay alone", lambda rows: hours)
    from pyod.models.copod import COPOD
    from pyod.models.ecod import ECOD
    from pyod.models.iforest import IForest
    from pyod.models.knn import KNN
    from pyod.models.mcd import MCD
    from pyod.models.pca import PCA

    for name, model, rows in [
        ("PyOD IForest", IForest(random_state=0), slice(None)),
        ("PyOD ECOD", ECOD(), some),
        ("PyOD COPOD", COPOD(), some),
        ("PyOD PCA", PCA(random_state=0), slice(None)),
        ("PyOD MCD", MCD(random_state=0), slice(None)),
        ("PyOD kNN 10", KNN(n_neighbors=10), some),
    ]:
        model.fit(quiet)
        told(name, model.decision_function, rows)
    forest = IsolationForest(random_state=0).fit(quiet)
    told("scikit-learn IsolationForest", lambda rows: -forest.score_samples(rows))
    from river import anomaly

    trees = anomaly.HalfSpaceTrees(n_trees=25, height=8, window_size=250, seed=1, limits={i: (-8, 8) for i in range(x.shape[1])})
    for row in quiet:
        trees.learn_one(dict(enumerate(row)))
    told("river half-space trees", lambda rows: [trees.score_one(dict(enumerate(row))) for row in rows], some)
    logistic = LogisticRegression(C=0.01, max_iter=500).fit(every_x, every_y)
    told("scikit-learn logistic (supervised)", logistic.decision_function)
    random_forest = RandomForestClassifier(200, min_samples_leaf=20, n_jobs=2, random_state=0).fit(every_x, every_y)
    told("scikit-learn random forest (supervised)", lambda rows: random_forest.predict_proba(rows)[:, 1])
    boosted = HistGradientBoostingClassifier(random_state=0, max_depth=3, learning_rate=0.05).fit(every_x, every_y)
    told("scikit-learn boosting (supervised)", boosted.decision_function)


if __name__ == "__main__":
    main()
