"""Stands in for the library `spaces` of ZeroGPU hosts: a decorated generator runs in a forked process, values only.

As there: the call's arguments and the yielded values are pickled, nothing else comes back, a tensor may not cross, and
a worker may be taken away. Copied as `spaces.py` to where a process finds it.
"""

import io
import multiprocessing
import os
import pickle

fork = multiprocessing.get_context("fork")
CALLS = []  # the process of each call


class Border(pickle.Pickler):
    """Refuses what must not cross."""

    def persistent_id(self, value):
        if type(value).__module__.partition(".")[0] == "torch":
            raise TypeError(f"a {type(value).__name__} at the border")
        return None


def packed(value) -> bytes:
    file = io.BytesIO()
    Border(file).dump(value)
    return file.getvalue()


def GPU(duration=60):
    def decorate(task):
        def call(*args):
            arguments, results = packed(args), fork.SimpleQueue()

            def work():
                try:
                    for value in task(*pickle.loads(arguments)):
                        results.put(packed(("value", value)))
                    results.put(packed(("end", None)))
                except BaseException as error:
                    results.put(packed(("error", error)))
                os._exit(0)  # nothing of the worker is cleaned up in the parent's name

            process = fork.Process(target=work, daemon=True)
            process.start()
            CALLS.append(process)
            try:
                while True:
                    kind, value = pickle.loads(results.get())
                    if kind == "end":
                        return
                    if kind == "error":
                        raise value
                    yield value
            finally:
                process.kill()
                process.join()

        return call

    return decorate
