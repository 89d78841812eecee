#!/usr/bin/env python3
"""Training steps of the paper's network in TensorFlow, for deploy/bench_cnn.sh: a bare tf.function, images/s.

  tf_cnn.py [speed] [--threads 2] [--precision fp32|bf16] [--batch 128] [--seconds 5]

On random images in memory: gather, forward, loss, backward, Adadelta. Prints one JSON object: the best of three windows.
Needs tensorflow and numpy.
"""
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import numpy as np
import tensorflow as tf

from cnn_timing import SAMPLES, print_rates, read_arguments


def main():
    args = read_arguments(__doc__)
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    kind = tf.bfloat16 if args.precision == "bf16" else tf.float32

    rng = np.random.default_rng(1)
    images = tf.constant(rng.random((SAMPLES, 28, 28, 1), dtype=np.float32))
    labels = tf.constant(rng.integers(0, 10, SAMPLES).astype(np.int32))

    def glorot(*shape):
        receptive = int(np.prod(shape[:-2])) if len(shape) > 2 else 1
        limit = np.sqrt(6.0 / (receptive * (shape[-2] + shape[-1])))
        return tf.Variable(rng.uniform(-limit, limit, shape).astype(np.float32))

    w1, w2, w3, w4 = glorot(3, 3, 1, 32), glorot(3, 3, 32, 64), glorot(9216, 128), glorot(128, 10)
    biases = [tf.Variable(tf.zeros(n)) for n in (32, 64, 128, 10)]
    variables = [w1, w2, w3, w4, *biases]
    squares = [tf.Variable(tf.zeros_like(v)) for v in variables]
    deltas = [tf.Variable(tf.zeros_like(v)) for v in variables]

    @tf.function
    def step(rows):
        x, y = tf.cast(tf.gather(images, rows), kind), tf.gather(labels, rows)
        with tf.GradientTape() as tape:
            c = lambda v: tf.cast(v, kind)
            h = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, c(w1), 1, "VALID"), c(biases[0])))
            h = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(h, c(w2), 1, "VALID"), c(biases[1])))
            h = tf.nn.dropout(tf.nn.max_pool2d(h, 2, 2, "VALID"), 0.5)
            h = tf.nn.relu(tf.matmul(tf.reshape(h, (-1, 9216)), c(w3)) + c(biases[2]))
            logits = tf.cast(tf.matmul(h, c(w4)) + c(biases[3]), tf.float32)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))
        for v, g, a, d in zip(variables, tape.gradient(loss, variables), squares, deltas):
            a.assign(0.95 * a + 0.05 * g * g)
            update = tf.sqrt((d + 1e-7) / (a + 1e-7)) * g
            d.assign(0.95 * d + 0.05 * update * update)
            v.assign_sub(update)
        return loss

    order = rng.permutation(SAMPLES).astype(np.int32)
    print_rates(args, {"tensorflow": tf.__version__}, order, lambda rows: step(tf.constant(rows)),
                finish=lambda loss: loss.numpy())


main()
