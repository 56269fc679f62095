# install_pkgconfig(TEMPLATE FILE): a pkg-config file that finds its prefix from where it lies.
function(install_pkgconfig template file)
  file(RELATIVE_PATH PC_PREFIX ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
  string(REGEX REPLACE "/$" "" PC_PREFIX ${PC_PREFIX})
  file(RELATIVE_PATH PC_LIBDIR ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_LIBDIR})
  file(RELATIVE_PATH PC_INCLUDEDIR ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_INCLUDEDIR})
  configure_file(${template} ${file} @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/${file} DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endfunction()

# allot_library(NAME DESCRIPTION SOURCES… [USES LIBRARY]): NAME, a static library, and NAME-shared,
# of the same objects, NAME-objects; over another such LIBRARY. Both are installed.
function(allot_library name PC_DESCRIPTION)
  cmake_parse_arguments(PARSE_ARGV 2 L "" "USES" "")
  add_library(${name}-objects OBJECT ${L_UNPARSED_ARGUMENTS})
  set_target_properties(${name}-objects PROPERTIES C_VISIBILITY_PRESET hidden)
  target_include_directories(${name}-objects PRIVATE ${allot-core_SOURCE_DIR}/include)

  # An archive has no export list, so its members are joined into one and their hidden names made
  # local: a program may have a function tree_insert() of its own.
  set(joined ${CMAKE_CURRENT_BINARY_DIR}/${name}-joined.o)
  add_custom_command(OUTPUT ${joined}
    COMMAND ${CMAKE_LINKER} -r -o ${joined} $<TARGET_OBJECTS:${name}-objects>
    COMMAND ${CMAKE_OBJCOPY} --localize-hidden ${joined}
    DEPENDS $<TARGET_OBJECTS:${name}-objects> COMMAND_EXPAND_LISTS VERBATIM)
  add_library(${name} STATIC ${joined})
  add_dependencies(${name} ${name}-objects) # files alone are not enough for make
  add_library(${name}-shared SHARED $<TARGET_OBJECTS:${name}-objects>)
  set_target_properties(${name}-shared PROPERTIES OUTPUT_NAME ${name} VERSION ${PROJECT_VERSION}
    SOVERSION 0)
  foreach(target ${name} ${name}-shared)
    set_target_properties(${target} PROPERTIES LINKER_LANGUAGE C)
    target_include_directories(${target} PUBLIC
      $<BUILD_INTERFACE:${allot-core_SOURCE_DIR}/include>
      $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  endforeach()
  if(L_USES)
    target_link_libraries(${name} PUBLIC ${L_USES})
    target_link_libraries(${name}-shared PUBLIC ${L_USES}-shared)
  endif()

  install(TARGETS ${name} ${name}-shared EXPORT allot-core-targets)
  set(PC_NAME ${name})
  set(PC_REQUIRES ${L_USES})
  install_pkgconfig(${allot-core_SOURCE_DIR}/cmake/library.pc.in ${name}.pc)
endfunction()
