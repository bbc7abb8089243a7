// What libmodeld.so exports: everything else in it is hidden.

#pragma once

#if defined(__GNUC__)
#define MODELD_EXPORT __attribute__((visibility("default")))
#else
#define MODELD_EXPORT
#endif
