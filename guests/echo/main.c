// A conversation: lines come in by interrupt, are echoed, and between them the vCPU sleeps.
#include "guest.h"

enum {
  RECEIVE = COM1,
  INTERRUPT_ENABLE = COM1 + 1,
  MODEM_CONTROL = COM1 + 4,
  LINE_STATUS = COM1 + 5,
  RECEIVED_INTERRUPT = 0x01,
  DATA_READY = 0x01,
  DTR_RTS_OUT2 = 0x0b,  // OUT2 is what connects a PC's UART to its interrupt line
  VECTOR = 0x34,
  BACKSPACE = 0x08,
  DELETE = 0x7f,
  END_OF_TRANSMISSION = 0x04,
};

// Written by the interrupt handler, read by main; both indices run freely.
static volatile uint8_t ring[4096];
static volatile uint32_t written, taken;
static volatile bool full;

// What the ring has no room for stays in the UART, which then takes no more from the line either: nothing is lost.
__attribute__((interrupt)) static void on_uart(struct interrupt_frame *frame) {
  (void)frame;
  while (!full && (in8(LINE_STATUS) & DATA_READY)) {
    ring[written++ % sizeof ring] = in8(RECEIVE);
    full = written - taken == sizeof ring;
  }
  if (full) out8(INTERRUPT_ENABLE, 0);
  local_apic_eoi();
}

static char next_character(void) {
  disable_interrupts();
  if (full && taken == written) {
    full = false;
    out8(INTERRUPT_ENABLE, RECEIVED_INTERRUPT);
  }
  while (taken == written) wait_for_interrupt();
  enable_interrupts();
  return (char)ring[taken++ % sizeof ring];
}

static char line[256];

// Reads a line with the little editing that a terminal leaves to the machine. False at the end of input.
static bool read_line(void) {
  static bool after_return;
  unsigned size = 0;
  for (;;) {
    char character = next_character();
    bool rest_of_crlf = after_return && character == '\n';
    after_return = character == '\r';
    if (rest_of_crlf) continue;
    if (character == '\r' || character == '\n') break;
    if (character == END_OF_TRANSMISSION && size == 0) return false;
    if (character == BACKSPACE || character == DELETE) {
      if (size == 0) continue;
      size--;
      print("\b \b");
    } else if ((uint8_t)character >= ' ' && size < sizeof line - 1) {
      line[size++] = character;
      put(character);
    }
  }
  put('\n');
  line[size] = 0;
  return true;
}

int main(void) {
  interrupts_init();
  interrupt_gate(VECTOR, on_uart);
  route_isa_interrupt(COM1_IRQ, VECTOR);
  print("> ");
  out8(MODEM_CONTROL, DTR_RTS_OUT2);
  out8(INTERRUPT_ENABLE, RECEIVED_INTERRUPT);

  while (read_line()) {
    if (is_word(line, "quit")) return (int)number(line[4] ? line + 5 : "");
    print("echo: %s\n> ", line);
  }
  put('\n');
  return 0;
}
