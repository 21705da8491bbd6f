// The least that an answer can cost whose two sides wake each other by eventfd(2): a write and a read on either side,
// without spinning.
//
//   eventfd_round_trip threads|processes [apart]
//
// "apart" gives each side a processor of its own, where the scheduler may put both on one.
#define _GNU_SOURCE
#include <err.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "rounds.h"

static int question, answer;
static pid_t other;  // the process that answers, if it is one

static void ring(int doorbell) {
  uint64_t one = 1;
  if (write(doorbell, &one, sizeof one) != sizeof one) err(1, "write to an eventfd");
}

static void await(int doorbell) {
  uint64_t rings;
  if (read(doorbell, &rings, sizeof rings) != sizeof rings) err(1, "read of an eventfd");
}

static void round_trips(uint64_t count) {
  while (count--) {
    ring(question);
    await(answer);
  }
}

// The caller runs on this processor from now on. A thread or process that it makes afterwards inherits that.
static void run_on(int processor) {
  cpu_set_t processors;
  CPU_ZERO(&processors);
  CPU_SET(processor, &processors);
  if (sched_setaffinity(0, sizeof processors, &processors) != 0) err(1, "no processor %d", processor);
}

static void *answer_for_ever(void *apart) {
  if (apart) run_on(1);
  for (;;) {
    await(question);
    ring(answer);
  }
  return NULL;
}

static void start_thread(void *apart) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, answer_for_ever, apart) != 0) errx(1, "pthread_create");
}

static void start_process(void *apart) {
  pid_t self = getpid();
  other = fork();
  if (other < 0) err(1, "fork");
  if (other > 0) return;
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != self) _exit(1);
  answer_for_ever(apart);
}

int main(int argc, char **argv) {
  bool processes = argc > 1 && strcmp(argv[1], "processes") == 0, threads = argc > 1 && strcmp(argv[1], "threads") == 0;
  bool apart = argc == 3 && strcmp(argv[2], "apart") == 0;
  if (processes == threads || argc > 3 || (argc == 3 && !apart)) {
    errx(64, "usage: eventfd_round_trip threads|processes [apart]");
  }
  question = eventfd(0, EFD_CLOEXEC);
  answer = eventfd(0, EFD_CLOEXEC);
  if (question < 0 || answer < 0) err(1, "eventfd");
  (processes ? start_process : start_thread)(apart ? argv[2] : NULL);
  if (apart) run_on(0);
  int status = serve_rounds(round_trips);
  if (other > 0) {
    kill(other, SIGKILL);
    waitpid(other, NULL, 0);
  }
  exit(status);  // and with it the other thread
}
