#include "app/run.h"

int main(int argc, char** argv) { return modeld::app::Run(argc, argv); }
