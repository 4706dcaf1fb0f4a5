"""One contender in a process of its own: reads commands, a JSON object a line, and answers each with a line.

Started by `benchmarks.processes` as `python -m benchmarks.worker`. What libraries print goes to the error stream.
"""

import importlib
import json
import os
import resource
import sys
import time


def main():
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = getattr(worker, command.pop("do"))(**command)
        except Exception as error:  # the parent decides what a failure means
            import traceback

            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"[:500]}
        print(json.dumps(answer), file=answers)


class Worker:
    """The commands."""

    def load(self, contender):
        """Imports a contender, "module:class"; the seconds that its libraries' import takes."""
        start = time.perf_counter()
        module, name = contender.split(":")
        self.kind = getattr(importlib.import_module(module), name)
        seconds = time.perf_counter() - start
        self.kind.prepare()
        return {"seconds": seconds}

    def build(self, settings, steps, reference):
        """Builds it, with the weights in the file `reference`, or with fresh ones where there is no such file."""
        import numpy as np

        from benchmarks.images import digits

        self.settings = settings
        images, validation = digits(steps * settings["batch"], settings["size"], 0), digits(1000, settings["size"], 1)
        weights = None
        if os.path.exists(reference):
            with np.load(reference) as stored:
                weights = [stored[f"weight{index}"] for index in range(int(stored["count"]))]
        self.contender = self.kind(settings, weights, images, validation)
        return {}

    def write_reference(self, reference, batch=0):
        """Writes our weights, a batch, its noise, and each player's loss and gradient, which every port must reproduce.

        `batch`: which one; another gives other images and, where it depends on them, other noise.
        """
        import numpy as np

        from benchmarks.images import digits

        images = digits(self.settings["batch"], self.settings["size"], 2 + batch)
        noise = self.contender.noise_for(images)
        weights, players = self.contender.weights, self.contender.players(images, noise=None)
        arrays = {f"weight{index}": weight for index, weight in enumerate(weights)}
        for player, (_, gradient) in enumerate(players):
            arrays.update({f"gradient{player}_{index}": part for index, part in enumerate(gradient)})
        counts = {"count": len(weights), "gradients": [len(gradient) for _, gradient in players]}
        np.savez(reference, images=images, noise=noise, losses=[loss for loss, _ in players], **counts, **arrays)
        return {}

    def check(self, reference):
        """How far this port's losses and gradients are from the reference: relative errors, of all players the greatest.

        A gradient's is relative to the largest element of its player's; "weight" says whose it is, and of which weight.
        """
        import numpy as np

        loss_errors, errors = [], {}
        with np.load(reference) as stored:
            players = self.contender.players(stored["images"], stored["noise"])
            rows = zip(players, stored["losses"], stored["gradients"], strict=True)
            for player, ((loss, gradient), wanted_loss, count) in enumerate(rows):
                loss_errors.append(abs(loss - wanted_loss) / abs(wanted_loss))
                wanted = [stored[f"gradient{player}_{index}"] for index in range(count)]
                largest = max(np.max(np.abs(part)) for part in wanted)
                for index, (got, part) in enumerate(zip(gradient, wanted, strict=True)):
                    same_shape = np.shape(got) == part.shape
                    errors[player, index] = np.max(np.abs(got - part)) / largest if same_shape else np.inf
        worst = max(errors, key=errors.get)
        return {"loss": float(max(loss_errors)), "gradient": float(errors[worst]), "weight": list(worst)}

    def train(self, epochs):
        """Trains `epochs` warm epochs (and, before them, those that are cold every time): seconds of each."""
        return {"seconds": self.contender.train(epochs + self.contender.cold_epochs)[self.contender.cold_epochs :]}

    def first(self):
        """The first epoch of all, compilation included; then back to the initial weights."""
        seconds = self.contender.train(1)[0]
        self.contender.reset()
        return {"seconds": seconds}

    def time_to_bound(self, target, most_epochs):
        seconds, epochs = self.contender.time_to_bound(target, most_epochs)
        return {"seconds": seconds, "epochs": epochs}

    def precision(self, settings, policy, seed, epochs):
        """Ours alone, under a dtype policy of Keras: the ms of a step and the bound after `epochs` of 100 steps."""
        from benchmarks.images import digits

        train, validation = digits(100 * settings["batch"], settings["size"], 0), digits(1000, settings["size"], 1)
        return self.kind.precision(settings, policy, seed, epochs, train, validation)

    def counts(self, settings):
        """Ours alone: FLOPs and bytes of a step."""
        return self.kind.counts(settings)

    def peak_memory(self):
        """Bytes resident at the most, in the life of this process."""
        return {"bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}

    def call(self, function, **arguments):
        """Calls "module:function": for what is measured beside contenders."""
        module, name = function.split(":")
        return getattr(importlib.import_module(module), name)(**arguments)


if __name__ == "__main__":
    main()
