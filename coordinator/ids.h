#pragma once

#include "proto/ids.h"
