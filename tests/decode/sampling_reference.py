"""llama.cpp's samplers in plain numpy and float64, one candidate after the other: the measure for those on the device."""

from __future__ import annotations

import numpy as np


class Reference:
    """Candidates of one sequence: (token, logit) in any order, as llama.cpp keeps them."""

    def __init__(self, logits, p, history=(), *, chance=0.0, breakers=(), end=(), pieces=(), mu=None, chosen=None):
        self.p, self.history, self.chance, self.breakers, self.end, self.pieces = p, list(history), chance, breakers, set(end), pieces
        self.n_vocab = len(logits)
        self.mu = 2 * p["mirostat_tau"] if mu is None else mu
        self.chosen = chosen
        self.c = [(i, float(x)) for i, x in enumerate(logits)]

    def sort(self):
        self.c.sort(key=lambda pair: (-pair[1], pair[0]))

    def softmax(self):
        x = np.asarray([logit for _, logit in self.c], np.float64)
        with np.errstate(invalid="ignore"):
            e = np.exp(x - x.max())
        return e / e.sum()

    def run(self, chain):
        """Probabilities f64[V]."""
        for token, bias in self.p["logit_bias"].items():
            self.c[token] = token, self.c[token][1] + bias
        if self.p["ignore_end"]:
            self.c = [(t, -np.inf if t in self.end else x) for t, x in self.c]
        if self.p["mirostat"]:
            self.temperature_of(self.p["temperature"])
            self.mirostat()
        else:
            for name in chain:
                getattr(self, name)()
        found = np.zeros(self.n_vocab)
        for (token, _), probability in zip(self.c, self.softmax(), strict=True):
            found[token] = probability
        return found

    def penalties(self):
        n = self.p["repeat_last_n"]
        recent = self.history if n < 0 else self.history[max(len(self.history) - n, 0) :]
        for i, (token, x) in enumerate(self.c):
            count = recent.count(token)
            if count:
                x = x * self.p["repeat_penalty"] if x <= 0 else x / self.p["repeat_penalty"]
                self.c[i] = token, x - count * self.p["frequency_penalty"] - self.p["presence_penalty"]

    def dry(self):
        p = self.p
        if p["dry_multiplier"] == 0 or p["dry_base"] < 1 or p["dry_penalty_last_n"] == 0:
            return
        n, allowed = p["dry_penalty_last_n"], p["dry_allowed_length"]
        last = self.history if n < 0 else self.history[max(len(self.history) - n, 0) :]
        if len(last) <= allowed:
            return
        back = last[::-1]
        limit = len(last)
        for i, token in enumerate(back):
            found = [len(b) - 1 for b in self.breakers if b[0] == token and len(b) - 1 <= i and list(b[1:]) == back[i - len(b) + 1 : i][::-1]]
            if found:
                limit = i - max(found)
                break
        if limit < allowed:
            return
        longest = {}
        for k in range(1, len(last)):
            same = 0
            while same + k < len(last) and back[same] == back[same + k]:
                same += 1
            same = min(same, limit)
            if same >= allowed:
                token = back[k - 1]
                longest[token] = max(longest.get(token, 0), same)
        most = int(88.7228391 / np.log(p["dry_base"])) if p["dry_base"] > 1.000001 else 0
        for i, (token, x) in enumerate(self.c):
            if token in longest and (token,) not in [tuple(b) for b in self.breakers]:
                exponent = longest[token] - allowed
                self.c[i] = token, x - p["dry_multiplier"] * p["dry_base"] ** (min(exponent, most) if most else exponent)

    def top_n_sigma(self):
        if self.p["top_n_sigma"] <= 0 or len(self.c) <= 1:
            return
        finite = np.asarray([x for _, x in self.c if x > -np.inf])
        least = finite.max() - self.p["top_n_sigma"] * finite.std()
        self.c = [(t, -np.inf if x < least else x) for t, x in self.c]

    def top_k(self):
        if self.p["top_k"] > 0:
            self.sort()
            self.c = self.c[: self.p["top_k"]]

    def typ_p(self):
        if self.p["typical_p"] >= 1:
            return
        self.sort()
        probabilities = self.softmax()
        positive = probabilities[probabilities > 0]
        entropy = -(positive * np.log(positive)).sum()
        with np.errstate(divide="ignore"):
            order = np.argsort(np.abs(-np.log(probabilities) - entropy), kind="stable")
        total, kept = 0.0, []
        for i, place in enumerate(order):
            kept.append(self.c[place])
            total += probabilities[place]
            if total > self.p["typical_p"] and (self.p["min_keep"] == 0 or i >= self.p["min_keep"] - 1):
                break
        self.c = kept
        self.sort()

    def top_p(self):
        if self.p["top_p"] >= 1:
            return
        self.sort()
        total = 0.0
        for i, probability in enumerate(self.softmax()):
            total += probability
            if total >= self.p["top_p"] and i + 1 >= self.p["min_keep"]:
                self.c = self.c[: i + 1]
                break

    def min_p(self):
        if self.p["min_p"] <= 0:
            return
        self.sort()
        least = self.c[0][1] + np.log(self.p["min_p"])
        self.c = [pair for i, pair in enumerate(self.c) if i == 0 or i < self.p["min_keep"] or pair[1] >= least]

    def xtc(self):
        p = self.p
        if p["xtc_probability"] <= 0 or p["xtc_threshold"] > 0.5 or len(self.c) < 2 or self.chance > p["xtc_probability"]:
            return
        self.sort()
        last = 0
        for i, probability in enumerate(self.softmax()):
            if probability < p["xtc_threshold"]:
                break
            last = i
        if len(self.c) - last >= p["min_keep"] and last > 0:
            self.c = self.c[last:]

    def temperature_of(self, value):
        if value <= 0:
            best = max(range(len(self.c)), key=lambda i: (self.c[i][1], -self.c[i][0]))
            self.c = [(t, x if i == best else -np.inf) for i, (t, x) in enumerate(self.c)]
        else:
            self.c = [(t, x / value) for t, x in self.c]

    def temperature(self):
        p = self.p
        value = p["temperature"]
        if p["dynatemp_range"] > 0:
            if len(self.c) <= 1:
                return
            probabilities = self.softmax()
            positive = probabilities[probabilities > 0]
            share = -(positive * np.log(positive)).sum() / np.log(len(self.c))
            low, high = max(0.0, value - p["dynatemp_range"]), value + p["dynatemp_range"]
            value = low + (high - low) * share ** p["dynatemp_exponent"]
        self.temperature_of(value)

    def mirostat(self):
        self.sort()
        probabilities = self.softmax()
        if self.p["mirostat"] == 2:
            with np.errstate(divide="ignore"):
                over = np.flatnonzero(-np.log2(probabilities) > self.mu)
            self.c = self.c[: max(int(over[0]) if len(over) else len(self.c), 1)]
            return
        m = min(100, len(self.c))
        i = np.arange(m - 1)
        with np.errstate(all="ignore"):
            possible = probabilities[1:m] > 0
            steps, falls = np.log((i + 2) / (i + 1))[possible], np.log(probabilities[: m - 1] / probabilities[1:m])[possible]
            s = (steps * falls).sum() / (steps**2).sum()
            k = (((s - 1) * 2**self.mu) / (1 - float(self.n_vocab) ** -(s - 1))) ** (1 / s)
        self.c = self.c[: max(int(min(np.nan_to_num(k, nan=1.0), 1e9)), 1)]

    def adaptive_p(self):
        if self.p["adaptive_target"] < 0:
            return
        target = min(max(self.p["adaptive_target"], 0.0), 1.0)
        total, weight = self.chosen
        adapted = min(max(target if weight == 0 else 2 * target - total / weight, 0.0), 1.0)
        distance = np.abs(self.softmax() - adapted) / 0.3
        self.c = [(t, x if x == -np.inf else 5 - 10 * d * d / (1 + d)) for (t, x), d in zip(self.c, distance, strict=True)]

    def infill(self):
        self.sort()
        p = self.softmax().tolist()
        ends = [t in self.end for t, _ in self.c]
        of_end = sum(x for x, e in zip(p, ends, strict=True) if e)
        if 3 * of_end * len(self.c) > 1 - of_end:
            self.c = [pair for pair, e in zip(self.c, ends, strict=True) if e]
            return
        logits = [x for _, x in self.c]
        for a in range(len(self.c)):
            for b in range(len(self.c)):
                if logits[a] == -np.inf:
                    break
                first, second = self.pieces[self.c[a][0]], self.pieces[self.c[b][0]]
                if a == b or logits[b] == -np.inf or not first or not second.startswith(first):
                    continue
                to, of = (b, a) if p[b] > p[a] else (a, b)
                p[to] += p[of]
                p[of], logits[of] = 0.0, -np.inf
        kept = [i for i in range(len(self.c)) if p[i] >= 0.2 or ends[i]]
        texts = sum(not ends[i] for i in kept)
        if not texts:
            self.c = [(min(self.end), 1.0)]
            return
        total = sum(p[i] for i in kept)
        kept = [i for i in kept if p[i] / total >= 1 / (texts + 1) or ends[i]]
        self.c = [(self.c[i][0], logits[i]) for i in kept]
