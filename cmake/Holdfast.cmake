# One static library a folder, one warning set, one way to declare a test or a
# fuzzer. Includes are root-relative with -iquote, never -I: our raft/ must not
# shadow libraft's <raft.h>.

add_library(holdfast_options INTERFACE)
target_compile_options(holdfast_options INTERFACE
    "SHELL:-iquote ${CMAKE_SOURCE_DIR}"
    -fno-omit-frame-pointer -fstack-protector-strong
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion
    -Wcast-qual -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes -Wundef
    -Wvla -Wswitch-enum -Wnull-dereference)
target_compile_definitions(holdfast_options INTERFACE
    _POSIX_C_SOURCE=200809L HOLDFAST_VERSION="${PROJECT_VERSION}")
if(CMAKE_C_COMPILER_ID MATCHES Clang)
    target_compile_options(holdfast_options INTERFACE -Wthread-safety)
endif()
if(HOLDFAST_WERROR)
    target_compile_options(holdfast_options INTERFACE -Werror)
endif()
if(HOLDFAST_SANITIZE)
    target_compile_options(holdfast_options INTERFACE
        -fsanitize=${HOLDFAST_SANITIZE} -fno-sanitize-recover=all)
    target_link_options(holdfast_options INTERFACE
        -fsanitize=${HOLDFAST_SANITIZE})
endif()
if(HOLDFAST_FUZZ)
    target_compile_options(holdfast_options INTERFACE -fsanitize=fuzzer-no-link)
    target_link_options(holdfast_options INTERFACE -fsanitize=fuzzer-no-link)
endif()

# holdfast_library(<folder> SOURCES … DEPS … [PRIVATE_DEPS …])
function(holdfast_library name)
    cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;PRIVATE_DEPS" ${ARGN})
    add_library(holdfast_${name} STATIC ${ARG_SOURCES})
    target_link_libraries(holdfast_${name}
        PUBLIC holdfast_options ${ARG_DEPS} PRIVATE ${ARG_PRIVATE_DEPS})
endfunction()

# holdfast_program(<program> SOURCES … DEPS …)
function(holdfast_program name)
    cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
    add_executable(${name} ${ARG_SOURCES})
    target_link_libraries(${name} PRIVATE holdfast_options ${ARG_DEPS})
endfunction()

# holdfast_test(<name> SOURCES … DEPS … [LABEL unit|cluster] [TIMEOUT s])
# A cmocka program; its cases are counted by scripts/test.
function(holdfast_test name)
    cmake_parse_arguments(ARG "" "LABEL;TIMEOUT" "SOURCES;DEPS" ${ARGN})
    if(NOT ARG_LABEL)
        set(ARG_LABEL unit)
    endif()
    if(NOT ARG_TIMEOUT)
        set(ARG_TIMEOUT 300)
    endif()
    add_executable(${name} EXCLUDE_FROM_ALL ${ARG_SOURCES})
    set_target_properties(${name} PROPERTIES EXCLUDE_FROM_ALL OFF)
    target_link_libraries(${name} PRIVATE holdfast_options ${ARG_DEPS} PkgConfig::CMOCKA)
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT})
endfunction()

# holdfast_fuzz(<name> SOURCE <file> CORPUS <dir> DEPS …)
# With HOLDFAST_FUZZ a libFuzzer program; always a replay of the corpus as an
# ordinary test, through cmake/fuzz_replay.c.
function(holdfast_fuzz name)
    cmake_parse_arguments(ARG "" "SOURCE;CORPUS" "DEPS" ${ARGN})
    if(HOLDFAST_FUZZ)
        add_executable(${name} ${ARG_SOURCE})
        target_link_libraries(${name} PRIVATE holdfast_options ${ARG_DEPS})
        target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    else()
        add_executable(${name} ${ARG_SOURCE} ${CMAKE_SOURCE_DIR}/cmake/fuzz_replay.c)
        target_link_libraries(${name} PRIVATE holdfast_options ${ARG_DEPS})
    endif()
    # libFuzzer fixes this name; it has no header.
    set_source_files_properties(${ARG_SOURCE} PROPERTIES
        COMPILE_OPTIONS -Wno-missing-prototypes)
    if(NOT HOLDFAST_FUZZ)
        add_test(NAME ${name} COMMAND ${name} ${CMAKE_CURRENT_SOURCE_DIR}/${ARG_CORPUS})
        set_tests_properties(${name} PROPERTIES LABELS fuzz TIMEOUT 120)
    endif()
endfunction()
