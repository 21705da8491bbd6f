// A guest chooses the exit status of the run.
#include "guest.h"

int main(void) {
  int status = (int)number_option("status", 7);
  print("exit: status %u\n", (unsigned)status);
  return status;
}
