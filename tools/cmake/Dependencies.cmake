# Third-party packages, each from its own package (apt, or a vendored prefix in .deps/ made by tools/vendor).
if(EXISTS ${CMAKE_SOURCE_DIR}/.deps)
  list(PREPEND CMAKE_PREFIX_PATH ${CMAKE_SOURCE_DIR}/.deps/usr ${CMAKE_SOURCE_DIR}/.deps)
  # Libraries that vendored libraries need in turn (OpenBLAS needs libgfortran) are found through the program's own path, the old kind that is
  # handed on.
  file(GLOB vendored_folders ${CMAKE_SOURCE_DIR}/.deps/usr/lib/*-linux-gnu ${CMAKE_SOURCE_DIR}/.deps/lib/*-linux-gnu)
  foreach(folder IN LISTS vendored_folders)
    add_link_options(LINKER:-rpath,${folder} LINKER:-rpath-link,${folder})
  endforeach()
  add_link_options(LINKER:--disable-new-dtags)
endif()
set(CMAKE_THREAD_PREFER_PTHREAD ON)
find_package(Threads REQUIRED)
find_package(nlohmann_json 3.10 REQUIRED)
find_package(fmt REQUIRED)
find_package(CLI11 REQUIRED)
find_package(Eigen3 3.4 REQUIRED NO_MODULE)
find_package(ZLIB REQUIRED)

# Loaded by the program itself (engine/device/open_blas.h): by its name, else from where it was found here. Unpacked packages lack the link that the
# alternatives system makes: hence the suffixes.
find_library(OPENBLAS_LIBRARY openblas PATH_SUFFIXES x86_64-linux-gnu/openblas-pthread aarch64-linux-gnu/openblas-pthread openblas-pthread REQUIRED)
find_path(OPENBLAS_INCLUDE_DIR cblas.h PATH_SUFFIXES openblas x86_64-linux-gnu x86_64-linux-gnu/openblas-pthread openblas-pthread REQUIRED)
add_library(OpenBLAS::OpenBLAS INTERFACE IMPORTED)
target_link_libraries(OpenBLAS::OpenBLAS INTERFACE ${CMAKE_DL_LIBS})
target_compile_definitions(OpenBLAS::OpenBLAS INTERFACE IDEM_OPENBLAS_LIBRARY="${OPENBLAS_LIBRARY}")
target_include_directories(OpenBLAS::OpenBLAS SYSTEM INTERFACE ${OPENBLAS_INCLUDE_DIR})

find_library(ZIP_LIBRARY zip REQUIRED)
find_path(ZIP_INCLUDE_DIR zip.h REQUIRED)
add_library(libzip::zip INTERFACE IMPORTED)
target_link_libraries(libzip::zip INTERFACE ${ZIP_LIBRARY})
target_include_directories(libzip::zip SYSTEM INTERFACE ${ZIP_INCLUDE_DIR})

find_path(VALIJSON_INCLUDE_DIR valijson/validator.hpp REQUIRED)
add_library(valijson::valijson INTERFACE IMPORTED)
target_include_directories(valijson::valijson SYSTEM INTERFACE ${VALIJSON_INCLUDE_DIR})

if(BUILD_TESTING)
  find_package(GTest REQUIRED)
endif()
