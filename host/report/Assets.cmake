# Builds the report's page pieces, and Plotly's script where it is, into idem_host. tools/fetch-plotly puts the script into .deps/.
set(PLOTLY_JS ${CMAKE_SOURCE_DIR}/.deps/plotly.min.js CACHE FILEPATH
  "Plotly's minified script, for reports to pan, zoom and turn; without it they hold still pictures")
set(IDEM_REPORT_FOLDER ${CMAKE_CURRENT_LIST_DIR})
if(EXISTS ${PLOTLY_JS})
  set(IDEM_PLOTLY_FILE ${PLOTLY_JS})
else()
  message(STATUS "No Plotly script at ${PLOTLY_JS}: reports will hold still pictures (tools/fetch-plotly gets it, then configure again)")
  set(IDEM_PLOTLY_FILE ${CMAKE_CURRENT_BINARY_DIR}/no_plotly.js)
  file(WRITE ${IDEM_PLOTLY_FILE} "")
endif()
configure_file(${IDEM_REPORT_FOLDER}/assets.cpp.in ${CMAKE_CURRENT_BINARY_DIR}/report_assets.cpp @ONLY)
set_source_files_properties(${CMAKE_CURRENT_BINARY_DIR}/report_assets.cpp PROPERTIES OBJECT_DEPENDS
  "${IDEM_REPORT_FOLDER}/page.html;${IDEM_REPORT_FOLDER}/page.css;${IDEM_REPORT_FOLDER}/page.js;${IDEM_REPORT_FOLDER}/plots.js;${IDEM_PLOTLY_FILE}")
target_sources(idem_host PRIVATE ${CMAKE_CURRENT_BINARY_DIR}/report_assets.cpp)
