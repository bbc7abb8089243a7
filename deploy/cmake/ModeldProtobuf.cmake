# All generated code, not compiled: what tools need that read the sources.
add_custom_target(modeld_generated)

# modeld_protobuf_library(NAME [GRPC] [LITE] ROOT dir [IMPORTS dir...] PROTOS file... [DEPS target...])
#
# Generates C++ for the messages (with GRPC, for the services too) below <build>/generated. The generated code is
# compiled without the project's warnings.
#
# LITE generates code for the lite runtime, below <build>/generated-lite. It registers no descriptors, so a shared library that
# hides it can be linked into a program that has the full code: the same file registered twice ends a process at start.
function(modeld_protobuf_library name)
  cmake_parse_arguments(ARG "GRPC;LITE" "ROOT" "PROTOS;IMPORTS;DEPS" ${ARGN})
  set(out ${CMAKE_BINARY_DIR}/generated)
  set(cpp_options)
  if(ARG_LITE)
    set(out ${CMAKE_BINARY_DIR}/generated-lite)
    set(cpp_options lite:)
  endif()
  file(MAKE_DIRECTORY ${out})
  set(sources)
  list(TRANSFORM ARG_IMPORTS PREPEND -I OUTPUT_VARIABLE imports)
  foreach(proto ${ARG_PROTOS})
    string(REGEX REPLACE "\\.proto$" "" base ${proto})
    set(generated ${out}/${base}.pb.cc ${out}/${base}.pb.h)
    set(arguments --cpp_out=${cpp_options}${out})
    if(ARG_GRPC)
      list(APPEND generated ${out}/${base}.grpc.pb.cc ${out}/${base}.grpc.pb.h)
      list(APPEND arguments --grpc_out=${out} --plugin=protoc-gen-grpc=${MODELD_GRPC_CPP_PLUGIN})
    endif()
    add_custom_command(
      OUTPUT ${generated}
      COMMAND protobuf::protoc -I ${ARG_ROOT} ${imports} ${arguments} ${ARG_ROOT}/${proto}
      DEPENDS ${ARG_ROOT}/${proto}
      VERBATIM)
    list(APPEND sources ${generated})
  endforeach()
  add_custom_target(${name}_generated DEPENDS ${sources})
  add_dependencies(modeld_generated ${name}_generated)
  add_library(${name} STATIC ${sources})
  add_dependencies(${name} ${name}_generated)
  if(MODELD_SANITIZE MATCHES undefined)
    target_compile_options(${name} PRIVATE -fno-sanitize=undefined) # it is not ours, and half of its time to compile
  endif()
  # Two generated files in one translation unit collide.
  set_target_properties(${name} PROPERTIES UNITY_BUILD OFF)
  target_include_directories(${name} SYSTEM PUBLIC ${out})
  target_link_libraries(${name} PUBLIC protobuf::libprotobuf ${ARG_DEPS})
  if(ARG_GRPC)
    target_link_libraries(${name} PUBLIC PkgConfig::GRPCPP)
  endif()
endfunction()
