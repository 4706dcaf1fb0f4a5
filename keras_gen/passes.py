"""Which of TensorFlow's optimizations of a graph the programs of the training loop are given."""

import contextlib

from tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig
from tensorflow.python.eager import context


@contextlib.contextmanager
def sound_passes():
    """While it lasts, programs that run for the first time are optimised by all of TensorFlow's passes but two.

    * The memory optimizer: in a program that it takes for large (0.2 GB, on a CPU) it adds up three gradients or more in a
      temporary variable. Within a loop, such as that over DRAW's steps, the variable is made once more than it is freed, and
      the program fails when it runs again: "AlreadyExistsError ... tmp_var". No public option turns it off.
    * The dependency optimizer: it drops the order between a weight's reading and its update where there seems to be another
      way from one to the other, which a later pass then takes away. On a busy machine a dream of wake-sleep was drawn by
      weights that its own step had updated.
    """
    at_hand = context.context()
    before, config = at_hand.function_call_options, at_hand.config
    rewrites = config.graph_options.rewrite_options
    rewrites.memory_optimization, rewrites.dependency_optimization = RewriterConfig.NO_MEM_OPT, RewriterConfig.OFF
    at_hand.function_call_options = context.FunctionCallOptions(before.executor_type, config)
    try:
        yield
    finally:
        at_hand.function_call_options = before
