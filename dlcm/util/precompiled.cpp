// Holds the precompiled header that every other target reuses.
#include "dlcm/util/precompiled.h"
