// The assembler pastes each file's bytes into the binary; CMakeLists.txt gives the paths and compiles this file again
// when one of them changes.
#include "dlcm/analysis/web_assets.h"

// Defines web_assets::NAME() as the bytes of the file at PATH.
#define DLCM_PASTE_FILE(NAME, PATH)                                                                               \
  __asm__(                                                                                                        \
      ".pushsection .rodata\n"                                                                                    \
      ".global dlcm_asset_" #NAME "_begin, dlcm_asset_" #NAME                                                     \
      "_end\n"                                                                                                    \
      "dlcm_asset_" #NAME "_begin: .incbin \"" PATH                                                               \
      "\"\n"                                                                                                      \
      "dlcm_asset_" #NAME                                                                                         \
      "_end:\n"                                                                                                   \
      ".popsection\n");                                                                                           \
  extern "C" const char dlcm_asset_##NAME##_begin[];                                                              \
  extern "C" const char dlcm_asset_##NAME##_end[];                                                                \
  std::string_view dlcm::web_assets::NAME() {                                                                     \
    return {dlcm_asset_##NAME##_begin, static_cast<size_t>(dlcm_asset_##NAME##_end - dlcm_asset_##NAME##_begin)}; \
  }

DLCM_PASTE_FILE(base_style, DLCM_WEB_DIRECTORY "/base.css")
DLCM_PASTE_FILE(report_page, DLCM_WEB_DIRECTORY "/report.html")
DLCM_PASTE_FILE(report_style, DLCM_WEB_DIRECTORY "/report.css")
DLCM_PASTE_FILE(report_script, DLCM_WEB_DIRECTORY "/report.js")
DLCM_PASTE_FILE(charts_page, DLCM_WEB_DIRECTORY "/charts.html")
DLCM_PASTE_FILE(charts_script, DLCM_WEB_DIRECTORY "/charts.js")
DLCM_PASTE_FILE(serve_page, DLCM_WEB_DIRECTORY "/serve.html")
DLCM_PASTE_FILE(serve_style, DLCM_WEB_DIRECTORY "/serve.css")
DLCM_PASTE_FILE(serve_script, DLCM_WEB_DIRECTORY "/serve.js")
DLCM_PASTE_FILE(chart_script, DLCM_CHART_JS)
DLCM_PASTE_FILE(chart_licence, DLCM_WEB_DIRECTORY "/chart-licence.txt")
