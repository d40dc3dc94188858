#include "dlcm/dist/communicator.h"
