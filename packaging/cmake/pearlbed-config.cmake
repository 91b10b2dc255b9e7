# find_package(pearlbed) gives the targets
#   pearlbed::pearlbed          the header pearlbed.h
#   pearlbed::pearl_pow         libpearl_pow.so with pearl_pow.h
#   pearlbed::pearl_pow_static  libpearl_pow.a, which a plugin is better off with: it needs nothing at run time
get_filename_component(_pearlbed_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
if(NOT TARGET pearlbed::pearlbed)
  add_library(pearlbed::pearlbed INTERFACE IMPORTED)
  set_target_properties(pearlbed::pearlbed PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${_pearlbed_prefix}/include")
  add_library(pearlbed::pearl_pow SHARED IMPORTED)
  set_target_properties(pearlbed::pearl_pow PROPERTIES
    IMPORTED_LOCATION "${_pearlbed_prefix}/lib/libpearl_pow.so"
    INTERFACE_INCLUDE_DIRECTORIES "${_pearlbed_prefix}/include")
  add_library(pearlbed::pearl_pow_static STATIC IMPORTED)
  set_target_properties(pearlbed::pearl_pow_static PROPERTIES
    IMPORTED_LOCATION "${_pearlbed_prefix}/lib/libpearl_pow.a"
    INTERFACE_INCLUDE_DIRECTORIES "${_pearlbed_prefix}/include"
    INTERFACE_LINK_LIBRARIES "pthread;dl;m")
endif()
unset(_pearlbed_prefix)
