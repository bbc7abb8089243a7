// The toolkit's own declarations, so that every signature is the real one, with the visibility that
// the library needs: it hides everything else. Include this, never the headers themselves.

#pragma once

#pragma GCC visibility push(default)
#include <cuda_runtime_api.h>
#pragma GCC visibility pop

#include <cuda.h>
