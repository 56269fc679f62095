# How everything is compiled: for the whole tree, and for lib/ where it is built alone.
set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON) # what speaks to Linux is beyond ISO C
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo)
endif()

option(ALLOT_WERROR "Treat warnings as errors" OFF)
option(ALLOT_FUZZ "Build the libFuzzer targets; clang only, best with ALLOT_SANITIZE" OFF)
set(ALLOT_SANITIZE "" CACHE STRING "Sanitizers to build with, as in -fsanitize=: address,undefined or thread")

include(GNUInstallDirs)

add_compile_options(-Wall -Wextra -Wshadow -Wconversion -Wvla -Wundef
  $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes> $<$<COMPILE_LANGUAGE:C>:-Wmissing-prototypes>)
if(ALLOT_WERROR)
  add_compile_options(-Werror)
endif()
if(ALLOT_SANITIZE)
  add_compile_options(-fsanitize=${ALLOT_SANITIZE} -fno-sanitize-recover=all
    -fno-omit-frame-pointer -UNDEBUG) # and with assertions
  add_link_options(-fsanitize=${ALLOT_SANITIZE})
endif()
if(ALLOT_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
