// modelctl: what is resident, who holds it, and what an operator wants done about it.

#include "modelctl/cli.h"

int main(int argc, char** argv) { return modeld::modelctl::Run(argc, argv); }
