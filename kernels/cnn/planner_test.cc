#include "kernels/cnn/planner.h"

#include <gtest/gtest.h>
