#include "modelctl/printer.h"

#include "modelctl/printers/json.h"
#include "modelctl/printers/name.h"
#include "modelctl/printers/table.h"
#include "modelctl/printers/wide.h"

namespace modeld::modelctl {

std::unique_ptr<Printer> MakePrinter(Format format, const PrintOptions& options) {
  switch (format) {
    case Format::kTable:
      return std::make_unique<TablePrinter>(options);
    case Format::kWide:
      return std::make_unique<WidePrinter>(options);
    case Format::kJson:
      return std::make_unique<JsonPrinter>(options);
    case Format::kName:
      return std::make_unique<NamePrinter>();
  }
  return nullptr;
}

}  // namespace modeld::modelctl
