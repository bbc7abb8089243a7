# The language, the warnings, the sanitizers, the compiler cache, and one way to declare a library.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
# Release keeps what a backtrace needs; the line tables are small.
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1 -DNDEBUG")
set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g1")

find_program(MODELD_CCACHE ccache)
if(MODELD_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${MODELD_CCACHE})
endif()

add_library(modeld_options INTERFACE)
target_compile_options(modeld_options INTERFACE -Wall -Wextra -Wno-unused-parameter
  -Wno-missing-field-initializers -Wnon-virtual-dtor)
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  target_compile_options(modeld_options INTERFACE -Wthread-safety)
endif()
option(MODELD_WERROR "Treat warnings as errors" ON)
if(MODELD_WERROR)
  target_compile_options(modeld_options INTERFACE -Werror)
endif()

set(MODELD_SANITIZE "" CACHE STRING "Value for -fsanitize=")
if(MODELD_SANITIZE)
  add_compile_options(-fsanitize=${MODELD_SANITIZE} -fno-omit-frame-pointer)
  if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
    # g++ 12 sees uninitialized members in <regex> and <functional> once they are instrumented (GCC bug 105562).
    add_compile_options(-Wno-maybe-uninitialized)
  endif()
  add_link_options(-fsanitize=${MODELD_SANITIZE})
  if(MODELD_SANITIZE MATCHES undefined)
    add_compile_options(-fno-sanitize-recover=undefined)
  endif()
endif()

# modeld_library(NAME SOURCES file... [INCLUDES dir...] [DEPS target...] [PRIVATE_DEPS target...])
#
# A static library. The folders form a graph, and the graph is the dependency rule: a folder that is not among
# the DEPS cannot be included, because its include directory is not there... except that siblings share one
# include root; tests/unit/dependency_rule_test holds them to the graph.
function(modeld_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;INCLUDES;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_include_directories(${name} PUBLIC ${ARG_INCLUDES})
  target_link_libraries(${name} PUBLIC ${ARG_DEPS} PRIVATE modeld_options ${ARG_PRIVATE_DEPS})
endfunction()
