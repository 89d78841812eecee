#include "kernels/cnn/runner.h"

#include <gtest/gtest.h>
