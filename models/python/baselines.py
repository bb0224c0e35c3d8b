"""What well-known detectors make of the rows that a figure judges: PyOD, scikit-learn, river and rrcf.

`figures` writes its own rows to a file and runs this on them, so who trains and who is judged, and on what,
is the figure's doing; scores go back and are measured there by the same code as everybody's. A row has two
numbers before its features: 0 if it is judged, 1 if its patient trains and never had the event, 2 if its
patient trains and had it; and 1 for the event. Features are the last value, and mean, least and most of twelve
hours, of seven vital signs in their units; nothing tells how long somebody has been in or how often somebody
was measured. What is missing is NaN; detectors see a clinical constant there.

    python3 -m venv VENV && VENV/bin/pip install -r models/python/requirements-baselines.txt
    PULSEWARD_PEER_PYTHON=VENV/bin/python PULSEWARD_DATA=... cargo run --release -p pulseward-benches -- sepsis
"""

import sys
import time

import numpy as np

# Heart rate, saturation, breathing, temperature, systolic, mean and diastolic pressure.
NORMAL = np.array([84, 97, 18, 37, 120, 82, 62], np.float64)
WIDTH = np.array([17, 2.5, 5, 0.7, 22, 15, 13], np.float64)
FEATURES = 4
TRAIN_ROWS = 20000
TIMED_ROWS = 20000
# The values that the anchor score reads: two means, one most, three leasts.
ANCHOR = [7, 9, 24, 18, 15, 17]


def read(path):
    rows = np.fromfile(path, "<f4").reshape(-1, 2 + FEATURES * len(NORMAL)).astype(np.float64)
    x = rows[:, 2:].reshape(len(rows), FEATURES, len(NORMAL))
    x = np.clip((np.where(np.isnan(x), NORMAL, x) - NORMAL) / WIDTH, -8, 8)
    return rows[:, 0], rows[:, 1] > 0.5, x.reshape(len(rows), -1)


def quiet_rows(role, x):
    quiet = x[role == 1]
    chosen = np.random.default_rng(1).choice(len(quiet), min(TRAIN_ROWS, len(quiet)), replace=False)
    return quiet[chosen]


def half_space_trees(columns):
    from river import anomaly

    limits = {column: (-8, 8) for column in range(columns)}
    return anomaly.HalfSpaceTrees(n_trees=25, height=8, window_size=250, seed=1, limits=limits)


def of_river(trees):
    return lambda rows: [trees.score_one(dict(enumerate(row))) for row in rows]


def fitted(fit):
    """A detector, or nothing where its package is not installed."""
    try:
        return fit()
    except ImportError as error:
        print(f"no {error.name}", file=sys.stderr)
        return None


def unsupervised(quiet):
    """Names and scores of detectors that saw quiet rows alone."""

    def pyod(module, name, **settings):
        def fit():
            detector = getattr(__import__(f"pyod.models.{module}", fromlist=[name]), name)(**settings)
            return detector.fit(quiet).decision_function

        return fit

    def isolation():
        from sklearn.ensemble import IsolationForest

        forest = IsolationForest(random_state=0).fit(quiet)
        return lambda rows: -forest.score_samples(rows)

    def half_spaces():
        trees = half_space_trees(quiet.shape[1])
        for row in quiet:
            trees.learn_one(dict(enumerate(row)))
        return of_river(trees)

    yield "PyOD IForest", pyod("iforest", "IForest", random_state=0)
    yield "PyOD ECOD", pyod("ecod", "ECOD")
    yield "PyOD COPOD", pyod("copod", "COPOD")
    yield "PyOD PCA", pyod("pca", "PCA", random_state=0)
    yield "PyOD MCD", pyod("mcd", "MCD", random_state=0)
    yield "PyOD kNN of 10", pyod("knn", "KNN", n_neighbors=10, algorithm="brute", n_jobs=2)
    yield "scikit-learn isolation forest", isolation
    yield "river half-space trees", half_spaces


def supervised(x, y):
    """Names and scores of models that saw all rows of those who train, with labels."""

    def logistic():
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=0.01, max_iter=500).fit(x, y).decision_function

    def forest():
        from sklearn.ensemble import RandomForestClassifier

        trees = RandomForestClassifier(200, min_samples_leaf=20, n_jobs=2, random_state=0).fit(x, y)
        return lambda rows: trees.predict_proba(rows)[:, 1]

    def boosting():
        from sklearn.ensemble import HistGradientBoostingClassifier

        settings = {"max_depth": 3, "learning_rate": 0.05, "max_iter": 300, "early_stopping": False}
        return HistGradientBoostingClassifier(random_state=0, **settings).fit(x, y).decision_function

    yield "scikit-learn logistic, labels", logistic
    yield "scikit-learn random forest, labels", forest
    yield "scikit-learn boosted trees, labels", boosting


def judge(path):
    """Writes every detector's scores of the judged rows beside `path`, and prints its name and cost."""
    role, y, x = read(path)
    quiet, trains, judged = quiet_rows(role, x), role > 0, x[role == 0]
    detectors = [*unsupervised(quiet), *supervised(x[trains], y[trains])]
    for number, (name, fit) in enumerate(detectors):
        score = fitted(fit)
        if score is None:
            continue
        began = time.perf_counter()
        scores = np.asarray(score(judged), "<f4")
        micros = 1e6 * (time.perf_counter() - began) / len(scores)
        scores.tofile(f"{path}.{number}")
        print(f"{number}\t{name}\t{micros}", flush=True)


def best(score, rows, run, rounds=7):
    """Microseconds a row: short runs, the best of several rounds of each, as ours are timed."""
    total = 0.0
    for start in range(0, len(rows), run):
        took = []
        for _ in range(rounds):
            began = time.perf_counter()
            score(rows[start : start + run])
            took.append(time.perf_counter() - began)
        total += min(took)
    return 1e6 * total / len(rows)


def times(path):
    """Prints what scoring a window costs on one core, by the values that the anchor score reads."""
    role, _, x = read(path)
    quiet, rows = quiet_rows(role, x)[:, ANCHOR], x[role == 0][:TIMED_ROWS, ANCHOR]

    def isolation():
        from sklearn.ensemble import IsolationForest

        return IsolationForest(n_estimators=100, n_jobs=1, random_state=0).fit(quiet).score_samples, rows, 5000

    def pyod():
        from pyod.models.iforest import IForest

        return IForest(n_estimators=100, n_jobs=1, random_state=0).fit(quiet).decision_function, rows, 5000

    def pyod_alone():
        from pyod.models.iforest import IForest

        score = IForest(n_estimators=100, n_jobs=1, random_state=0).fit(quiet).decision_function
        return lambda rows: [score(row[None]) for row in rows], rows[:40], 1

    def half_spaces():
        trees = half_space_trees(len(ANCHOR))
        for row in quiet[:2000]:
            trees.learn_one(dict(enumerate(row)))
        return of_river(trees), rows[:2000], 20

    def cut_forest():
        import rrcf

        random = np.random.default_rng(2)
        forest = [
            rrcf.RCTree(quiet[random.choice(len(quiet), 256, replace=False)], random_state=number)
            for number in range(50)
        ]

        def score(rows):
            for row in rows:
                for tree in forest:
                    tree.insert_point(row, index="new")
                    tree.codisp("new")
                    tree.forget_point("new")

        return score, rows[:40], 1

    for name, fit in [
        ("scikit-learn isolation forest, 5,000 at once", isolation),
        ("PyOD IForest, 5,000 at once", pyod),
        ("PyOD IForest, one at a time", pyod_alone),
        ("river half-space trees, 25", half_spaces),
        ("rrcf random cut forest, 50 trees of 256", cut_forest),
    ]:
        made = fitted(fit)
        if made is not None:
            print(f"0\t{name}\t{best(*made)}", flush=True)


if __name__ == "__main__":
    {"judge": judge, "times": times}[sys.argv[1]](sys.argv[2])
